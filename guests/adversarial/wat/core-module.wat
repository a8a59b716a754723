;; A core module, which many tools still make, and no component.
;;
;; Loading should say so, and how to make a component of it.
(module
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))
