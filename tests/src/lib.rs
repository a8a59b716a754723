//! The Rust in documents, compiled and run as doc tests.

#[doc = include_str!("../../README.md")]
mod readme {}

#[doc = include_str!("../../docs/models.md")]
mod models {}
