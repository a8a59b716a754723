;; Five exports, written by hand: four that a limit should stop, and one that is harmless.
;;
;;   spin   loops for ever                              fuel, or wall time
;;   park   waits for an hour in one call of the host   wall time
;;   print  prints to standard output for ever          output, or wall time
;;   grow   grows memory until refused, then traps      memory
;;   add    adds two numbers, wrapping                  nothing to stop
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))

  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer-pollable))
    (export "pollable" (type $pollable (eq $outer-pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (type $stream-error-cases (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error-cases)))
    (export "output-stream" (type $output-stream (sub resource)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream))
      (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))

  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $outer-output-stream))
    (export "output-stream" (type $output-stream (eq $outer-output-stream)))
    (export "get-stdout" (func (result (own $output-stream))))))

  ;; The memory stands apart, since `write` is lowered into it before the code is instantiated.
  (core module $storage
    (memory (export "memory") 1)
    (data (i32.const 64) "nobody will read all of this, and it does not end by itself ...\n"))
  (core instance $storage (instantiate $storage))
  (alias core export $storage "memory" (core memory $memory))

  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $write
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))

  (core module $code
    (import "storage" "memory" (memory 1))
    (import "host" "block" (func $block (param i32)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))

    ;; Square roots take long and burn little fuel, so that a short wall time limit is reached before a large fuel limit.
    (func (export "spin")
      (local $value f64)
      (local.set $value (f64.const 2))
      (loop $again
        (local.set $value
          (f64.sqrt (f64.sqrt (f64.sqrt (f64.sqrt (f64.add (local.get $value) (f64.const 1)))))))
        (f64.store (i32.const 0) (local.get $value))
        (br $again)))

    (func (export "park")
      (call $block (call $subscribe (i64.const 3_600_000_000_000))))

    ;; The line is at 64, the answer of the host goes to 0 and is not looked at.
    (func (export "print")
      (local $stream i32)
      (local.set $stream (call $get-stdout))
      (loop $again
        (call $write (local.get $stream) (i32.const 64) (i32.const 64) (i32.const 0))
        (br $again)))

    (func (export "grow")
      (loop $again
        (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable)

    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1))))

  (core instance $code (instantiate $code
    (with "storage" (instance $storage))
    (with "host" (instance
      (export "block" (func $block))
      (export "subscribe" (func $subscribe))
      (export "get-stdout" (func $get-stdout))
      (export "write" (func $write))))))

  (func (export "spin") (canon lift (core func $code "spin")))
  (func (export "park") (canon lift (core func $code "park")))
  (func (export "print") (canon lift (core func $code "print")))
  (func (export "grow") (canon lift (core func $code "grow")))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $code "add"))))
