;; Imports an interface with a resource, and a function that borrows one.
;;
;; A resource is no JSON, so that no tool can stand behind it: loading should say so, and name the interface.
(component
  (import "acme:odd/things" (instance
    (export "thing" (type $thing (sub resource)))
    (export "weigh" (func (param "it" (borrow $thing)) (result u32)))))

  (core module $code
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
