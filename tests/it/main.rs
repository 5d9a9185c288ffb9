//! Integration tests, one module a subject; see `tests/it/support`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod by_hand;
mod catalog_cluster;
mod catalog_objects;
mod catalog_privileges;
mod catalog_relations;
mod deploy;
mod ebs;
mod elsewhere;
mod every_catalog;
mod export;
mod generated;
mod iam;
mod incidents;
mod labels;
mod lesser;
mod main_job;
mod misled;
mod notify;
mod operations;
mod points;
mod policies;
mod rds;
mod rds_backup;
mod rds_restore;
mod readme;
mod restore;
mod restore_rows;
mod scale;
mod secrets;
mod serve;
mod serve_http;
mod sockets;
mod ssm;
mod store;
mod support;
mod tls;
mod values;
mod vault;
mod versions;
mod web;
