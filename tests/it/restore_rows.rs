//! Rows on their way back: tables loaded whole beside the indexes of others, and what is lost with a row that the server refuses.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::sync::Arc;

use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::pg::compare::compare;
use pgkeep::pg::copy::TableStream;
use pgkeep::pg::facts::drop_database;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, RestoreOutcome, execute, plan};
use tokio_postgres::Client;

use super::support::rows::{Memory, clock, export_to, input, options, silent, target};
use super::support::server::Server;

/// A partitioned table whose partitions are worth loading whole, with a key to another table, and an index whose function claims to be immutable and
/// reads a table that is loaded last.
const LEDGER: &str = "
CREATE TABLE accounts (id int PRIMARY KEY, name text);
INSERT INTO accounts SELECT n, 'account ' || n FROM generate_series(1, 500) n;
CREATE TABLE rates (kind text PRIMARY KEY, rate int);
INSERT INTO rates SELECT 'k' || n, n * 100 FROM generate_series(0, 6) n;
CREATE FUNCTION rate(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT rate FROM public.rates WHERE kind = $1';
CREATE TABLE bookings (id int, at date NOT NULL, account int NOT NULL, kind text, note text, PRIMARY KEY (id, at, account)) PARTITION BY RANGE (at);
CREATE TABLE bookings_1 PARTITION OF bookings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE bookings_2 PARTITION OF bookings FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE bookings_3 PARTITION OF bookings FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY LIST (account);
CREATE TABLE bookings_3_rest PARTITION OF bookings_3 DEFAULT;
INSERT INTO bookings SELECT n, '2026-01-01'::date + n % 90, n % 500 + 1, 'k' || n % 7, 'booking ' || md5(n::text) || md5((n + 1)::text)
  FROM generate_series(1, 60000) n;
CREATE INDEX ON bookings (account);
CREATE INDEX ON bookings USING brin (id);
CREATE INDEX bookings_rate ON bookings_1 (rate(kind));
CREATE STATISTICS together ON account, kind FROM bookings_1;
ALTER TABLE bookings ADD CONSTRAINT known_account FOREIGN KEY (account) REFERENCES accounts ON DELETE CASCADE;
CREATE TABLE notes (account int REFERENCES accounts, other int REFERENCES accounts NOT NULL, text text);
INSERT INTO notes SELECT n % 500 + 1, n % 300 + 1, repeat(md5(n::text), 4) FROM generate_series(1, 20000) n;
ANALYZE";

async fn restore(url: &str, backup: &RestoreInput, memory: &Memory, jobs: usize) -> RestoreOutcome {
    let goal = target(url);
    let options = RestoreOptions { jobs, ..RestoreOptions::default() };
    let plan = plan(&goal, backup, &options).await.expect("plan");
    execute(&goal, backup, &plan, Arc::new(memory.clone()), &silent(), &Shutdown::new(), &clock()).await.expect("restore")
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect(sql).get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_before_all_rows_are_in_ends_as_if_it_had_not() {
    for server in Server::all() {
        let original = server.database("ledger").await;
        original.connect().await.batch_execute(LEDGER).await.expect("set up");
        let memory = Memory::default();
        let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let name = format!("pgkeep_restored_{}", random_hex(4));
        let outcome = restore(&server.url(&name), &backup, &memory, 3).await;
        assert!(outcome.is_complete() && outcome.warnings.is_empty(), "PostgreSQL {}: {outcome:#?}", server.major);
        let phases: Vec<&str> = outcome.phases.iter().map(|p| p.phase.as_str()).collect();
        assert_eq!(phases, ["roles", "database", "before the rows", "rows", "after the rows", "privileges", "statistics"]);
        let (expected, found) = (server.pg_dump(&original.name, &[]), server.pg_dump(&name, &[]));
        assert!(expected == found, "PostgreSQL {}: pg_dump differs", server.major);
        let same = compare(&target(&server.url(&name)), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
        assert!(same.is_equal(), "{same:#?}");

        let client = server.connect(&name).await;
        client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off").await.expect("set");
        let by_index = number(&client, "SELECT count(*) FROM bookings_1 WHERE rate(kind) = 300").await;
        assert_eq!(by_index, number(&client, "SELECT count(*) FROM bookings_1 WHERE kind = 'k3'").await);
        assert!(by_index > 1000, "the index was built before the rows that its function reads: {by_index}");
        let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text LIKE 'bookings_%' \
                       AND conname = 'known_account' AND conparentid <> 0 AND convalidated";
        assert_eq!(number(&client, keys).await, 4, "keys of partitions belong to that of their table");
        let frozen = "SELECT count(*) FROM pg_class WHERE relname IN ('bookings_1', 'bookings_2', 'bookings_3_rest') AND relallvisible * 2 > relpages";
        // Before 14, COPY froze rows and left the map of visible pages alone.
        let expected = if server.major < 14 { 0 } else { 3 };
        assert_eq!(number(&client, frozen).await, expected, "tables that were loaded whole need no vacuum");
        drop(client);
        drop_database(&target(&server.url("postgres")), &name).await.expect("drop");
        original.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_costs_its_stream_and_not_its_table() {
    let server = Server::of(17);
    let original = server.database("streams").await;
    original.connect().await.batch_execute(LEDGER).await.expect("set up");
    let memory = Memory::default();
    let mut backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    let mut tables = backup.tables.to_vec();
    let table = tables.iter_mut().find(|t| t.table == "notes").expect("notes");
    // The table as if it had been large: two streams, the second with a row that has a field too many.
    let first = table.streams[0].clone();
    let rows = memory.stream(&first.stream);
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    rows.split_inclusive(|b| *b == b'\n')
        .enumerate()
        .for_each(|(i, row)| if i < 15000 { &mut head } else { &mut tail }.extend(row));
    tail.extend_from_slice(b"1\t1\tsecret-value\tx\n");
    memory.put(&first.stream, head);
    memory.put("second", tail);
    table.streams.push(TableStream { stream: "second".to_owned(), ..first });
    backup.tables = tables.into();
    let name = format!("pgkeep_restored_{}", random_hex(4));
    let outcome = restore(&server.url(&name), &backup, &memory, 2).await;
    assert_eq!(outcome.errors.len(), 1, "{outcome:#?}");
    assert!(outcome.errors[0].entry.contains("notes") && !outcome.errors[0].message.contains("secret"), "{outcome:#?}");
    let lost: Vec<(u64, u64)> = outcome.mismatches.iter().map(|m| (m.loaded, m.expected)).collect();
    assert_eq!(lost, [(15000, 20000)]);
    let client = server.connect(&name).await;
    assert_eq!(number(&client, "SELECT count(*) FROM notes").await, 15000);
    assert_eq!(number(&client, "SELECT count(*) FROM bookings").await, 60000);
    drop(client);
    drop_database(&target(&server.url("postgres")), &name).await.expect("drop");
    original.remove().await;
}
