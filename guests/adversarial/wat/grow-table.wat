;; Grows a table, which costs the host eight bytes an element and shows in no memory.
;;
;; The memory limit should count tables too: `grow` then returns -1 instead of the size before.
(component
  (core module $code
    (table $table 1 funcref)
    (func (export "grow") (param $elements i32) (result i32)
      (table.grow $table (ref.null func) (local.get $elements))))
  (core instance $code (instantiate $code))
  (func (export "grow") (param "elements" u32) (result s32)
    (canon lift (core func $code "grow"))))
