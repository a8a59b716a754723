;; Wants what nobody offers: a WASI interface that is not linked, one of Casemate's that does not exist, and a module.
;;
;; Loading should name all of them; nothing should run.
(component
  (import "wasi:keyvalue/store@0.2.0" (instance
    (export "count" (func (result u32)))))
  (import "casemate:agent/everything@0.1.0" (instance
    (export "count" (func (result u32)))))
  (import "code" (core module))

  (core module $code
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
