//! Every cap and size in one place, each with its reason.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Average plaintext of a part: one PUT each, large enough that requests cost less than storage, small enough that a
/// changed row re-uploads little and that the parts that two jobs hold open fit the memory that we promise.
pub const PART_TARGET_BYTES: usize = 4 << 20;
/// No cut before this much plaintext: avoids a tail of tiny objects.
pub const PART_MIN_BYTES: usize = 1 << 20;
/// A part ends before it would exceed this; one row larger than it is a part of its own.
pub const PART_MAX_BYTES: usize = 8 << 20;
/// zstd level of parts and contents: on COPY text level 3 is slower and no smaller.
pub const ZSTD_LEVEL: i32 = 1;
/// Bytes of parts between "cut" and "stored" over all workers, as plaintext until they are compressed: bounds memory whatever the store's speed.
pub const IN_FLIGHT_BYTES: usize = 12 << 20;
/// Requests in flight to one bucket: what costs is small documents, thousands of them, whose answers take 20 ms each. Parts in flight are
/// bounded by their bytes.
pub const STORE_CONCURRENCY: usize = 64;
/// Files read or written at once in a folder: each takes a thread.
pub const FOLDER_CONCURRENCY: usize = 16;
/// Keys in one answer to a listing.
pub const LISTING_PAGE: usize = 1000;
/// Places from which one long listing is read at once.
pub const LISTING_CONCURRENCY: usize = 16;
/// How long a lease is valid without renewal: a dead holder is replaced within a minute or two.
pub const LEASE_TTL: Duration = Duration::from_secs(60);
/// How often a holder renews: three chances before expiry.
pub const LEASE_RENEW: Duration = Duration::from_secs(15);
/// How long a reader mark protects a backup without renewal.
pub const READER_TTL: Duration = Duration::from_secs(30 * 60);
/// Time between tombstone and sweep.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Lock wait per try: a migration must never queue behind us for longer than users notice.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Tries to lock a table before the backup fails, with growing pauses between.
pub const LOCK_TRIES: u32 = 30;
/// Connect timeout to PostgreSQL.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Tables up to this heap size share parts.
pub const SMALL_TABLE_BYTES: u64 = 4 << 20;
/// Blocks (of 8 KiB) in one ctid range of a large table: 128 MiB of heap. A fixed multiple, so that boundaries stay put while a
/// table grows.
pub const RANGE_BLOCKS: u64 = 16384;
/// Most jobs when nobody names a number.
pub const DEFAULT_JOBS_MAX: usize = 4;

/// Processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Jobs when nobody names a number: the processors, at most [`DEFAULT_JOBS_MAX`].
pub fn default_jobs() -> usize {
    processors().min(DEFAULT_JOBS_MAX)
}
/// Most plaintext that a part may claim: PostgreSQL sends no row of 1 GiB or more, and a part larger than `PART_MAX_BYTES` is one row.
pub const PLAIN_MAX_BYTES: u64 = 1 << 30;
/// Decoded parts that are read ahead over all streams of a restore.
pub const READ_AHEAD_BYTES: usize = 16 << 20;
/// Decoded parts that are kept because several streams share them.
pub const READ_CACHE_BYTES: usize = 16 << 20;
/// How long after its expiry the lease of a prune is left alone: longer than a delete request can be on its way.
pub const SWEEP_MARGIN: Duration = Duration::from_secs(5 * 60);
/// Bytes of contents that a prune holds at once, as they are stored.
pub const CONTENTS_BYTES: usize = 32 << 20;
/// Bytes of parts that a verification reads ahead, as they are stored.
pub const VERIFY_AHEAD_BYTES: usize = 16 << 20;
/// Age at which a temporary of a folder store is taken for the remains of a killed process and removed: no write lasts this long.
pub const TEMPORARY_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Entries kept in each log of notices: the last one decides, the others are there for people.
pub const NOTICES_KEPT: usize = 10;
/// Longest sending of one message over one channel, and longest reading or writing of its record.
pub const NOTIFY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a message counts as being sent: longer than sending and recording can take.
pub const NOTIFY_CLAIM: Duration = Duration::from_secs(2 * 60);
/// Pauses before a message that did not arrive is sent again; the last try is the last. In all about a day.
pub const NOTIFY_RETRIES: [Duration; 7] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(3 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(12 * 3600),
];
/// A message older than this is not sent any more: it would tell what is no longer news.
pub const NOTIFY_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Time between two messages about the same problem: after the first, the second, and every further one.
pub const NOTIFY_REMINDERS: [Duration; 3] =
    [Duration::from_secs(3600), Duration::from_secs(4 * 3600), Duration::from_secs(24 * 3600)];
/// Different causes of one problem that are each told at once; more of them wait for the reminder.
pub const NOTIFY_CAUSES: usize = 8;
/// How often a process looks for messages that another one could not send.
pub const NOTIFY_SCAN: Duration = Duration::from_secs(10 * 60);
/// Most characters of an error or detail that are sent or recorded.
pub const NOTIFY_TEXT_CHARS: usize = 4000;
/// Wait for a connection to a store.
pub const STORE_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait for a store's answer to a request without a body.
pub const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Slowest upload that is not given up: adds to the answer timeout by the size of the body.
pub const STORE_SLOWEST_UPLOAD_BYTES_PER_SECOND: u64 = 64 << 10;
/// A transfer that moves nothing for this long is given up and tried again.
pub const STORE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to the HTTP interface; further ones wait. Each holds a descriptor that a backup might need.
pub const HTTP_CONNECTIONS: usize = 64;
/// A connection on which nothing was sent for this long is closed: longer than any answer takes.
pub const HTTP_IDLE: Duration = Duration::from_secs(90);
/// Time for an answer, what is read from vaults included.
pub const HTTP_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Body of a request: a label and little else.
pub const HTTP_BODY_BYTES: usize = 64 << 10;
/// Requests that read vaults at the same time; further ones wait.
pub const HTTP_VAULT_READS: usize = 4;
/// Time for answers that are under way when the daemon stops.
pub const HTTP_STOP: Duration = Duration::from_secs(3);
