//! The README's Rust, compiled and run as doc tests.
#![doc = include_str!("../../README.md")]
