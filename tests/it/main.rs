//! Integration tests, one module a subject; see `tests/it/support`.

mod vault;
