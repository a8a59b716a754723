;; Spreads its memory over four memories, so that a limit on each alone would allow four times as much.
;;
;; The memory limit should hold for the sum: `grow-each` grows all four by `pages` and returns how many of them grew.
(component
  (core module $one
    (memory 1)
    ;; 1 if the memory grew, 0 if that was refused.
    (func (export "grow") (param $pages i32) (result i32)
      (i32.ne (memory.grow (local.get $pages)) (i32.const -1))))
  (core module $two
    (memory 1)
    (func (export "grow") (param $pages i32) (result i32)
      (i32.ne (memory.grow (local.get $pages)) (i32.const -1))))
  (core module $three
    (memory 1)
    (func (export "grow") (param $pages i32) (result i32)
      (i32.ne (memory.grow (local.get $pages)) (i32.const -1))))
  (core module $four
    (memory 1)
    (func (export "grow") (param $pages i32) (result i32)
      (i32.ne (memory.grow (local.get $pages)) (i32.const -1))))
  (core instance $one (instantiate $one))
  (core instance $two (instantiate $two))
  (core instance $three (instantiate $three))
  (core instance $four (instantiate $four))

  (core module $all
    (import "one" "grow" (func $one (param i32) (result i32)))
    (import "two" "grow" (func $two (param i32) (result i32)))
    (import "three" "grow" (func $three (param i32) (result i32)))
    (import "four" "grow" (func $four (param i32) (result i32)))
    (func (export "grow-each") (param $pages i32) (result i32)
      (i32.add
        (i32.add (call $one (local.get $pages)) (call $two (local.get $pages)))
        (i32.add (call $three (local.get $pages)) (call $four (local.get $pages))))))
  (core instance $all (instantiate $all
    (with "one" (instance $one))
    (with "two" (instance $two))
    (with "three" (instance $three))
    (with "four" (instance $four))))

  (func (export "grow-each") (param "pages" u32) (result u32)
    (canon lift (core func $all "grow-each"))))
