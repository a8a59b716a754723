;; Computes, spins and sleeps: what the table measures beside the toolbox and the smallest guest.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $pollable (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))

  (core module $code
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (memory 1)

    ;; xorshift64: each round needs the one before.
    (func (export "busy-loop") (param $iterations i64) (result i64)
      (local $state i64)
      (local.set $state (i64.const 0x1e3779b97f4a7c15))
      (block $done
        (loop $round
          (br_if $done (i64.eqz (local.get $iterations)))
          (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 13))))
          (local.set $state (i64.xor (local.get $state) (i64.shr_u (local.get $state) (i64.const 7))))
          (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 17))))
          (local.set $iterations (i64.sub (local.get $iterations) (i64.const 1)))
          (br $round)))
      (local.get $state))

    (func (export "spin") (loop $forever (br $forever)))

    (func (export "sleep-an-hour") (call $block (call $subscribe (i64.const 3600000000000)))))

  (core instance $code (instantiate $code
    (with "host" (instance (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
  (func (export "busy-loop") (param "iterations" u64) (result u64) (canon lift (core func $code "busy-loop")))
  (func (export "spin") (canon lift (core func $code "spin")))
  (func (export "sleep-an-hour") (canon lift (core func $code "sleep-an-hour"))))
