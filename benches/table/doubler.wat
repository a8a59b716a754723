;; Doubles a number so many times, each by a call of its import.
(component
  (import "acme:math/ops" (instance $ops
    (export "double" (func (param "n" u32) (result u32)))))
  (core func $double (canon lower (func $ops "double")))

  (core module $code
    (import "ops" "double" (func $double (param i32) (result i32)))
    (func (export "double-many") (param $count i32) (result i32)
      (local $number i32)
      (local.set $number (i32.const 1))
      (block $done
        (loop $again
          (br_if $done (i32.eqz (local.get $count)))
          (local.set $number (call $double (local.get $number)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $again)))
      (local.get $number)))
  (core instance $code (instantiate $code
    (with "ops" (instance (export "double" (func $double))))))
  (func (export "double-many") (param "count" u32) (result u32)
    (canon lift (core func $code "double-many"))))
