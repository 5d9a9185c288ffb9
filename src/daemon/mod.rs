//! What goes on without anybody watching.

pub mod notify;
