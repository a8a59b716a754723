;; Imports a function whose type has no room for an error, and calls it twice.
;;
;; When the call is denied or fails, no number is true: the sandbox should end, and the second call not happen.
(component
  (import "acme:math/ops" (instance $ops
    (export "double" (func (param "n" u32) (result u32)))))
  (core func $double (canon lower (func $ops "double")))

  (core module $code
    (import "ops" "double" (func $double (param i32) (result i32)))
    (func (export "quadruple") (param i32) (result i32)
      (call $double (call $double (local.get 0)))))
  (core instance $code (instantiate $code
    (with "ops" (instance (export "double" (func $double))))))
  (func (export "quadruple") (param "n" u32) (result u32)
    (canon lift (core func $code "quadruple"))))
