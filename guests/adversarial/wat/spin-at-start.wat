;; Loops for ever while it is instantiated, before any export is called.
;;
;; Fuel and wall time should hold from instantiation on.
(component
  (core module $code
    (func $start (loop $again (br $again)))
    (start $start)
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
