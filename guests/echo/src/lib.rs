//! A guest that gives back what it gets, with a function for each type of WIT: what `wit/echo` says, and nothing else.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/echo",
        world: "echo",
    });

    export!(Echo with_types_in self);

    use super::Echo;
}

use bindings::exports::casemate::echo::calls::{self, Failure};
use bindings::exports::casemate::echo::compound::{self, Access, Direction, Letters, Place, Point, Shape};
use bindings::exports::casemate::echo::plain;

struct Echo;

/// Functions that take one value and give it back.
macro_rules! echo {
    ($($function:ident: $ty:ty,)*) => {
        $(fn $function(value: $ty) -> $ty {
            value
        })*
    };
}

impl plain::Guest for Echo {
    echo! {
        echo_bool: bool,
        echo_s8: i8,
        echo_u8: u8,
        echo_s16: i16,
        echo_u16: u16,
        echo_s32: i32,
        echo_u32: u32,
        echo_s64: i64,
        echo_u64: u64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
    }
}

impl compound::Guest for Echo {
    echo! {
        echo_strings: Vec<String>,
        echo_bytes: Vec<u8>,
        echo_option_bytes: Option<Vec<u8>>,
        echo_list_bytes: Vec<Vec<u8>>,
        echo_list_s8: Vec<i8>,
        echo_list_u64: Vec<u64>,
        echo_list_f64: Vec<f64>,
        echo_list_char: Vec<char>,
        echo_tuple: (bool, u64, String),
        echo_single: (u8,),
        echo_record: Place,
        echo_records: Vec<Place>,
        echo_variant: Shape,
        echo_enum: Direction,
        echo_flags: Access,
        echo_wide_flags: Letters,
        echo_option: Option<u64>,
        echo_option_option: Option<Option<u8>>,
        echo_three_options: Option<Option<Option<String>>>,
        echo_list_option: Vec<Option<String>>,
        echo_list_result: Vec<Result<u64, String>>,
        echo_list_result_no_ok: Vec<Result<(), Direction>>,
        echo_list_result_no_err: Vec<Result<Point, ()>>,
        echo_list_result_bare: Vec<Result<(), ()>>,
        echo_option_result: Option<Result<Option<u8>, Shape>>,
        echo_deep: Vec<Vec<(Option<Vec<Shape>>, Result<Vec<Place>, Vec<Access>>)>>,
    }
}

impl calls::Guest for Echo {
    fn nothing() {}

    fn swallow(_value: String) {}

    fn seven() -> u8 {
        7
    }

    fn several(first: u8, second_one: Option<String>, third: Vec<u8>) -> (u8, Option<String>, Vec<u8>) {
        (first, second_one, third)
    }

    fn many(
        p1: u64,
        p2: u64,
        p3: u64,
        p4: u64,
        p5: u64,
        p6: u64,
        p7: u64,
        p8: u64,
        p9: u64,
        p10: u64,
        p11: u64,
        p12: u64,
        p13: u64,
        p14: u64,
        p15: u64,
        p16: u64,
        p17: u64,
    ) -> Vec<u64> {
        vec![p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16, p17]
    }

    fn fail_or_not(value: Result<u64, String>) -> Result<u64, String> {
        value
    }

    fn fail_with_record(code: u64, reason: String) -> Result<(), Failure> {
        Err(Failure { code, reason })
    }

    fn succeed_or_not(value: bool) -> Result<(), ()> {
        value.then_some(()).ok_or(())
    }
}
