;; Takes a tuple of two tuples of two tuples, and so on: 18 short lines, 262,144 numbers when written out; the validator of wasmtime 48 refuses one level more.
;;
;; A description has to bound the size of what it writes, or share what the type shares.
(component
  (core module $code
    (memory (export "memory") 5)
    ;; Whatever is asked for lies at 8; nothing is read back.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
    (func (export "take") (param i32)))
  (core instance $code (instantiate $code))

  (type $t1 (tuple u8 u8))
  (type $t2 (tuple $t1 $t1))
  (type $t3 (tuple $t2 $t2))
  (type $t4 (tuple $t3 $t3))
  (type $t5 (tuple $t4 $t4))
  (type $t6 (tuple $t5 $t5))
  (type $t7 (tuple $t6 $t6))
  (type $t8 (tuple $t7 $t7))
  (type $t9 (tuple $t8 $t8))
  (type $t10 (tuple $t9 $t9))
  (type $t11 (tuple $t10 $t10))
  (type $t12 (tuple $t11 $t11))
  (type $t13 (tuple $t12 $t12))
  (type $t14 (tuple $t13 $t13))
  (type $t15 (tuple $t14 $t14))
  (type $t16 (tuple $t15 $t15))
  (type $t17 (tuple $t16 $t16))
  (type $t18 (tuple $t17 $t17))

  (func (export "take") (param "value" $t18)
    (canon lift (core func $code "take")
      (memory $code "memory")
      (realloc (func $code "realloc")))))
