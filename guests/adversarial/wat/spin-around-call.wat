;; Loops for ever beside the function that was called: while its argument is placed, and after its result was read.
;;
;; Fuel and wall time should hold there too.
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (loop $again (br $again))
      unreachable)
    (func (export "in-realloc") (param i32 i32))
    (func (export "in-post-return") (result i32) (i32.const 0))
    (func (export "post-return") (param i32)
      (loop $again (br $again))))
  (core instance $code (instantiate $code))
  (func (export "in-realloc") (param "text" string)
    (canon lift (core func $code "in-realloc") (memory $code "memory") (realloc (func $code "realloc"))))
  (func (export "in-post-return") (result string)
    (canon lift (core func $code "in-post-return") (memory $code "memory") (post-return (func $code "post-return")))))
