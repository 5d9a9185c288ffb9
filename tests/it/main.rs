//! Integration tests, one module a subject; see `tests/it/support`.

mod by_hand;
mod catalog_cluster;
mod catalog_objects;
mod catalog_privileges;
mod catalog_relations;
mod export;
mod main_job;
mod policies;
mod restore;
mod store;
mod support;
mod tls;
mod vault;
