;; How many days a month has.
(component
  (core module $calendar
    ;; Whether a year has a 29th of February.
    (func $is-leap (param $year i32) (result i32)
      (i32.eqz (i32.rem_u (local.get $year) (i32.const 4))))

    ;; 31 and 30 in turn, twice; and February.
    (func (export "days-in-month") (param $year i32) (param $month i32) (result i32)
      (if (i32.eq (local.get $month) (i32.const 2))
        (then (return (i32.add (i32.const 28) (call $is-leap (local.get $year))))))
      (i32.add
        (i32.const 30)
        (i32.and
          (i32.xor (local.get $month) (i32.shr_u (local.get $month) (i32.const 3)))
          (i32.const 1)))))

  (core instance $instance (instantiate $calendar))
  (func (export "days-in-month") (param "year" u32) (param "month" u32) (result u32)
    (canon lift (core func $instance "days-in-month"))))
