;; Imports an interface that has types and no function.
;;
;; There is nothing to provide: it should load and run without anyone behind the import.
(component
  (import "acme:paint/colours" (instance $colours
    (type $names (enum "red" "green"))
    (export "colour" (type $colour (eq $names)))
    (type $fields (record (field "base" $colour) (field "shade" u8)))
    (export "paint" (type (eq $fields)))))

  (core module $code
    (func (export "one") (result i32) (i32.const 1)))
  (core instance $code (instantiate $code))
  (func (export "one") (result u32) (canon lift (core func $code "one"))))
