//! The vault against a store that can die at any request: writing, reading, leases, pruning, damage.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]
#![allow(clippy::disallowed_macros, clippy::print_stdout, reason = "the seed and step of a failure")]
#![allow(clippy::wildcard_imports, reason = "one support module")]

mod crash;
mod damage;
mod history;
mod lease;
mod model;
mod outside;
mod support;
mod write;
