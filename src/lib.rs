//! pgkeep: backup and disaster recovery for PostgreSQL on AWS, by policy.
//!
//! ```text
//! main → cli → daemon → jobs → { repo, pg, cloud } ;  repo → store ;  cli/daemon/jobs → policy ;  everything → base
//! ```
//!
//! `pg` turns a database into entries (SQL) and streams (rows) and back; `repo` turns streams into content-addressed parts and commit
//! records; `store` holds objects; `cloud` calls AWS for snapshots; `jobs` is the only place where `pg` and `cloud` meet `repo`. `docs/ARCHITECTURE.md` is the tour,
//! `docs/FORMAT.md` the contract of the vault, `tests/architecture.rs` enforces the arrows.

pub mod base;
pub mod cli;
pub mod cloud;
pub mod daemon;
pub mod jobs;
pub mod pg;
pub mod policy;
pub mod repo;
pub mod store;
