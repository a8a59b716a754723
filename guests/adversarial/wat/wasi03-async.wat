;; Imports an interface of WASI 0.3 with a stream and a future in its types, as real ones have.
;;
;; A validator that does not know asynchronous types refuses it first; the error should still say that it is a WASI 0.3 component.
(component
  (import "wasi:cli/types@0.3.0" (instance $types
    (type $codes (enum "io" "illegal-byte-sequence" "pipe"))
    (export "error-code" (type (eq $codes)))))
  (alias export $types "error-code" (type $error-code))

  (import "wasi:cli/stdout@0.3.0" (instance
    (alias outer 1 $error-code (type $outer-error-code))
    (export "error-code" (type $error-code (eq $outer-error-code)))
    (export "write-via-stream" (func
      (param "data" (stream u8))
      (result (future (result (error $error-code))))))))

  (core module $code
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $code (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $code "answer"))))
