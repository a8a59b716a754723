;; Imports two interfaces of its own, one with a version and one without; the first has another type than the
;; component `weather` exports under its name.
;;
;; It loads. Binding should refuse a tool of another type with both types, and a call should name what nothing serves.
(component
  (import "acme:weather/forecast@1.0.0" (instance
    (export "get-forecast" (func (param "city" string) (result string)))))
  (import "acme:other/thing" (instance
    (export "count" (func (result u32)))))

  (core module $code
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
