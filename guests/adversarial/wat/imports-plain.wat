;; Imports a function that is in no interface, and calls it.
;;
;; A tool behind `log` should get `{"text": "hello"}`; without one, loading should name the import.
(component
  (import "log" (func $log (param "text" string)))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 8) "hello"))
  (core instance $memory (instantiate $memory))
  (core func $log (canon lower (func $log) (memory $memory "memory")))

  (core module $code
    (import "host" "log" (func $log (param i32 i32)))
    (func (export "run") (call $log (i32.const 8) (i32.const 5))))
  (core instance $code (instantiate $code
    (with "host" (instance (export "log" (func $log))))))
  (func (export "run") (canon lift (core func $code "run"))))
