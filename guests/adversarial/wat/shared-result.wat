;; Returns a list of strings that are all the same 64 KiB of its memory, so that a small guest makes a huge value.
;;
;; The result limit should stop `amplify` before the strings are copied: 10,000 of them are 640 MB from 144 KB of memory.
(component
  (core module $code
    (memory (export "memory") 1)
    ;; At 0 the answer: where the list is, and its length. From 8 on the list; after it, on a page of its own, the string.
    (func (export "amplify") (param $count i32) (result i32)
      (local $entry i32) (local $end i32) (local $text i32)
      (local.set $end (i32.add (i32.const 8) (i32.mul (local.get $count) (i32.const 8))))
      (local.set $text (i32.and (i32.add (local.get $end) (i32.const 0xffff)) (i32.const 0xffff0000)))
      (drop (memory.grow (i32.shr_u (local.get $text) (i32.const 16))))
      (memory.fill (local.get $text) (i32.const 0x61) (i32.const 0x10000))
      (i32.store (i32.const 0) (i32.const 8))
      (i32.store (i32.const 4) (local.get $count))
      (local.set $entry (i32.const 8))
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get $entry) (local.get $end)))
          (i32.store (local.get $entry) (local.get $text))
          (i32.store offset=4 (local.get $entry) (i32.const 0x10000))
          (local.set $entry (i32.add (local.get $entry) (i32.const 8)))
          (br $next)))
      (i32.const 0)))
  (core instance $code (instantiate $code))
  (func (export "amplify") (param "count" u32) (result (list string))
    (canon lift (core func $code "amplify") (memory $code "memory"))))
