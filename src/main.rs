//! The `pgkeep` binary.
fn main() {}
