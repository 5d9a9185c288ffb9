//! One kind of object a file; all of the same shape.

use super::kind::Kind;

/// All kinds; the order breaks ties in the dependency order.
pub const KINDS: &[&Kind] = &[];
