;; Wants two interfaces that nobody offers, one with a version and one without.
;;
;; Loading should name both, and say what could provide them; nothing should run.
(component
  (import "acme:weather/forecast@1.0.0" (instance
    (export "get-forecast" (func (param "city" string) (result string)))))
  (import "acme:other/thing" (instance
    (export "count" (func (result u32)))))

  (core module $code
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
