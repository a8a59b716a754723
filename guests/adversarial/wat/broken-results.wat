;; Breaks the canonical ABI in what it returns and in how it takes an argument.
;;
;; The host should refuse each as a fault of the guest, and read nothing outside the guest's memory.
(component
  (core module $code
    (memory (export "memory") 1)
    ;; Where arguments go: far outside.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x7fff0000))
    (func (export "text-outside") (result i32)
      (i32.store (i32.const 0) (i32.const 0xfff0))
      (i32.store (i32.const 4) (i32.const 0x7fffffff))
      (i32.const 0))
    (func (export "answer-outside") (result i32) (i32.const 0x10000))
    (func (export "answer-misaligned") (result i32) (i32.const 3))
    (func (export "no-such-case") (result i32) (i32.const 9))
    (func (export "no-such-char") (result i32) (i32.const 0xd800))
    (func (export "take") (param i32 i32)))
  (core instance $code (instantiate $code))

  (type $colour' (enum "red" "green"))
  (export $colour "colour" (type $colour'))

  (func (export "text-outside") (result string)
    (canon lift (core func $code "text-outside") (memory $code "memory")))
  (func (export "answer-outside") (result string)
    (canon lift (core func $code "answer-outside") (memory $code "memory")))
  (func (export "answer-misaligned") (result string)
    (canon lift (core func $code "answer-misaligned") (memory $code "memory")))
  (func (export "no-such-case") (result $colour)
    (canon lift (core func $code "no-such-case")))
  (func (export "no-such-char") (result char)
    (canon lift (core func $code "no-such-char")))
  (func (export "take") (param "text" string)
    (canon lift (core func $code "take") (memory $code "memory") (realloc (func $code "realloc")))))
