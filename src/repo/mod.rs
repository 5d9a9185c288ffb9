//! The vault: content-addressed parts, contents, heads, and everything that keeps them whole.
//!
//! `docs/FORMAT.md` is the contract; this module is its only implementation. It knows streams of rows and opaque documents, never what a
//! table is. Writing: [`lease`] → [`writer`] and its [`group`]s ([`chunk`] cuts rows into parts, [`codec`] packs them, [`stored`] and [`index`] know
//! what the store has) → [`commit`]. Reading: [`listing`] finds a backup, [`reader`] gives its streams back, [`verify`] proves them. Removing: [`gc`] plans,
//! [`sweep`] applies. The rest are small documents beside the backups.

mod buffers;
pub mod chunk;
pub mod codec;
pub mod commit;
pub mod contents;
pub mod document;
pub mod failpoints;
pub mod format;
pub mod gc;
pub mod group;
pub mod head;
pub mod index;
pub mod lease;
pub mod listing;
pub mod notices;
pub mod pins;
pub mod proofs;
pub mod reader;
pub mod readers;
mod references;
pub mod runs;
pub mod stored;
pub mod sweep;
pub mod tombstones;
pub mod vault;
pub mod verify;
pub mod writer;

pub use vault::Vault;
