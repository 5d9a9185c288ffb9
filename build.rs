//! Links releases for 64-bit Linux with GNU ld where there is one: LLD, rustc's own choice there, keeps the unwinding tables of functions that it drops,
//! six megabytes of them.

#![allow(clippy::disallowed_macros, reason = "cargo reads what a build script prints")]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    let lld_by_default =
        is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let has_gnu_ld =
        || env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join("ld.bfd").exists()));
    if is("PROFILE", "release") && lld_by_default && has_gnu_ld() {
        println!("cargo::rustc-link-arg-bins=-fuse-ld=bfd");
    }
}
