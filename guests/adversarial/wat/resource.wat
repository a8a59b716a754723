;; Exports functions over a resource, which is no JSON, next to a plain one.
;;
;; A description should list `make` and `consume` as not callable, with the reason, and `add` as callable.
(component
  (type $thing (resource (rep i32)))
  (export $exported-thing "thing" (type $thing))
  (core func $new (canon resource.new $thing))
  (core func $drop (canon resource.drop $thing))

  (core module $code
    (import "thing" "new" (func $new (param i32) (result i32)))
    (import "thing" "drop" (func $drop (param i32)))
    (func (export "make") (result i32) (call $new (i32.const 7)))
    (func (export "consume") (param i32) (call $drop (local.get 0)))
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1))))
  (core instance $code (instantiate $code
    (with "thing" (instance (export "new" (func $new)) (export "drop" (func $drop))))))

  (func (export "make") (result (own $exported-thing))
    (canon lift (core func $code "make")))
  (func (export "consume") (param "it" (own $exported-thing))
    (canon lift (core func $code "consume")))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $code "add"))))
