//! A backup of one major restored into a newer one is what `pg_dump` 18 and `psql` make there; an older one is refused.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Error, Kind};
use pgkeep::pg::compare::compare;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, execute, plan};

use crate::support::cli::{drop_database, new_name};
use crate::support::corpus::{difference, make_roles};
use crate::support::rows::{Memory, clock, export_to, input, options, silent, target};
use crate::support::server::{Database, Server};

/// What every major from 13 on has, and what a newer one has another default or another form for.
const SAMPLE: &str = r#"
CREATE SCHEMA app AUTHORIZATION corpus_owner;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE TYPE app.span AS RANGE (subtype = timestamptz);
CREATE DOMAIN app.positive AS numeric(10,2) NOT NULL CONSTRAINT above CHECK (VALUE > 0);
CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE TABLE app.people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL, m app.mood DEFAULT 'ok', s app.span,
  p app.positive, gone int, twice int GENERATED ALWAYS AS (app.twice(id)) STORED, CONSTRAINT named CHECK (name <> ''));
ALTER TABLE app.people DROP COLUMN gone;
CREATE INDEX ON app.people (app.twice(id)) WHERE name IS NOT NULL;
CREATE INDEX ON app.people USING gist (s);
CREATE TABLE app.parts (id int NOT NULL, at date NOT NULL, person int REFERENCES app.people, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE app.parts_rest PARTITION OF app.parts DEFAULT;
CREATE TABLE app.base (a int NOT NULL, b text DEFAULT 'x'); CREATE TABLE app.child (c int) INHERITS (app.base);
CREATE UNLOGGED TABLE app.scratch (a serial, b bytea);
CREATE VIEW app.named AS SELECT id, name, count(*) AS n FROM app.people GROUP BY id;
CREATE MATERIALIZED VIEW app.totals AS SELECT person, count(*) FROM app.parts GROUP BY 1;
CREATE FUNCTION app.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER fires AFTER UPDATE ON app.parts FOR EACH ROW EXECUTE FUNCTION app.fires();
CREATE RULE quiet AS ON DELETE TO app.named DO INSTEAD NOTHING;
CREATE POLICY own ON app.people USING (name = current_user); ALTER TABLE app.people ENABLE ROW LEVEL SECURITY;
CREATE STATISTICS app.together ON id, name FROM app.people;
CREATE PUBLICATION people FOR TABLE app.people;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO corpus_reader;
GRANT ALL ON app.people TO corpus_owner WITH GRANT OPTION; GRANT SELECT (name) ON app.people TO PUBLIC;
GRANT SELECT ON app.people TO corpus_reader; ALTER TABLE app.base OWNER TO corpus_owner; REVOKE ALL ON app.child FROM postgres;
COMMENT ON TABLE app.people IS 'people';
INSERT INTO app.people (name, s, p) VALUES ('a', '[2026-01-01Z,2026-02-01Z)', 1.5), (E'b\t\\', NULL, 2);
INSERT INTO app.parts VALUES (1, '2026-05-05', 1), (2, '2030-01-01', 2); INSERT INTO app.child VALUES (1, 'y', 2);
INSERT INTO app.scratch (b) VALUES ('\x00ff'); REFRESH MATERIALIZED VIEW app.totals;
SELECT lo_from_bytea(4711, 'content'); ALTER LARGE OBJECT 4711 OWNER TO corpus_owner;
"#;

async fn sample(server: &Server) -> Database {
    make_roles(server).await;
    let database = server.database("versions").await;
    database.connect().await.batch_execute(SAMPLE).await.unwrap_or_else(|e| panic!("PostgreSQL {}: {e:?}", server.major));
    database
}

async fn restore(url: &str, backup: &RestoreInput, memory: &Memory) -> Result<Vec<String>, Error> {
    let target = target(url);
    let options = RestoreOptions { jobs: 2, ..RestoreOptions::default() };
    let plan = plan(&target, backup, &options).await?;
    let outcome = execute(&target, backup, &plan, Arc::new(memory.clone()), &silent(), &Shutdown::new(), &clock()).await?;
    Ok(outcome.errors.iter().map(|e| format!("{}: {}", e.entry, e.message)).collect())
}

/// Runs a dump on a database, as a user would.
fn psql(url: &str, dump: &str) {
    let bin = std::env::var("PGKEEP_TEST_CLIENT_BIN").expect("PGKEEP_TEST_CLIENT_BIN is not set: run scripts/services start");
    let mut child = Command::new(format!("{bin}/psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("run psql");
    child.stdin.take().expect("stdin").write_all(dump.as_bytes()).expect("feed psql");
    assert!(child.wait().expect("psql").success(), "psql refused the dump");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_major_gets_what_pg_dump_would_give_it_and_an_older_one_is_refused() {
    let servers = Server::all();
    let mut failures = Vec::new();
    for from in &servers {
        let original = sample(from).await;
        let memory = Memory::default();
        let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let dump = from.pg_dump(&original.name, &[]);
        for to in servers.iter().filter(|to| to.major != from.major) {
            make_roles(to).await;
            let pair = format!("from {} to {}", from.major, to.major);
            let name = new_name("versions_copy");
            if to.major < from.major {
                let error = restore(&to.url(&name), &backup, &memory).await.expect_err("an older server");
                assert_eq!(error.kind(), Kind::Unsupported, "{pair}: {error:?}");
                continue;
            }
            match restore(&to.url(&name), &backup, &memory).await {
                Ok(errors) if errors.is_empty() => {}
                other => failures.push(format!("{pair}: {other:?}")),
            }
            let by_psql = to.database("by_psql").await;
            // `pg_dump` 18 sets a parameter that came with 17.
            psql(&by_psql.url(), &dump.replace("SET transaction_timeout = 0;\n", ""));
            let (expected, found) = (to.pg_dump(&by_psql.name, &[]), to.pg_dump(&name, &[]));
            if expected != found {
                failures.push(format!("{pair}: pg_dump differs\n{}", difference(&expected, &found)));
            }
            let same = compare(&target(&to.url(&name)), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
            if !same.data.is_empty() {
                failures.push(format!("{pair}: rows differ: {:#?}", same.data));
            }
            by_psql.remove().await;
            drop_database(to, &name).await;
        }
        original.remove().await;
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
