;; Imports an interface of WASI 0.3 by name, with nothing asynchronous in its types.
;;
;; Loading should say that it is a WASI 0.3 component, not only that an import is missing.
(component
  (import "wasi:cli/stdout@0.3.0" (instance
    (export "flush" (func))))

  (core module $code
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
