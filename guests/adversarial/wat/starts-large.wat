;; Starts with a memory of 4 GiB less one page, so that a limit counted from the start would allow all of it.
;;
;; It fits no slot of a pool; instantiating it should be refused, or cost nothing before a page is touched.
(component
  (core module $code
    (memory 65535)
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
