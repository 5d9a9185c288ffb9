//! Names and values that are easily spoilt come back as they were, by way of a vault, on every server and in every encoding.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use pgkeep::base::ids::random_hex;
use pgkeep::base::sql::ident;

use super::support::cli::{Home, StoreKind, drop_database, new_name};
use super::support::corpus::difference;
use super::support::server::{Database, Server};

/// Backs up, restores beside the original, and compares both as text, and, on one server, by a drill, entry by entry and row by row.
fn round_trip(original: &Database, objects: &str) -> String {
    let server = &original.server;
    let home = Home::new(StoreKind::File);
    home.policy("values", original, "");
    let backup = home.json(&["backup", "values"]);
    let copy = new_name("values");
    home.run(&["restore", "values", "--to", &server.url(&copy), "--yes"]).exits(0);
    let (expected, found) = (server.pg_dump(&original.name, &[]), server.pg_dump(&copy, &[]));
    assert!(expected == found, "{objects} on PostgreSQL {}:\n{}", server.major, difference(&expected, &found));
    if server.major == 17 {
        let drill = home.json(&["verify", "values", "--level", "restore", "--scratch", "local"]);
        assert_eq!(drill["proofs"][0]["passed"], true, "{objects}: {drill:#}");
    }
    // Nothing changed: the same parts, however odd the names of their streams.
    let again = home.json(&["backup", "values"]);
    assert_eq!((&again["counts"]["new_parts"], &again["counts"]["rows"]), (&0.into(), &backup["counts"]["rows"]), "{again:#}");
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_values_come_back_on_every_server() {
    for server in Server::all() {
        let original = server.database("values").await;
        let client = original.connect().await;
        client.batch_execute(include_str!("values.sql")).await.unwrap_or_else(|e| panic!("PostgreSQL {}: {e:?}", server.major));
        if server.major >= 17 {
            let infinite = "INSERT INTO v.times (i, i3, ym) VALUES ('infinity', '-infinity', 'infinity')";
            client.batch_execute(infinite).await.expect("infinite intervals");
        }
        // Of another session, and nobody else's.
        let temporary = "CREATE TEMPORARY TABLE passing (a serial PRIMARY KEY); INSERT INTO passing DEFAULT VALUES; CREATE TEMPORARY VIEW seen AS SELECT * FROM passing";
        client.batch_execute(temporary).await.expect("temporary objects");
        let copy = round_trip(&original, "everything");
        let text = "SELECT coalesce(i::text, ''), (SELECT count(*) FROM v.nothing), (SELECT md5(string_agg(t::text, '|' ORDER BY t.id)) FROM v.texts t) FROM v.times LIMIT 1";
        let read = async |name: &str| {
            let row = server.connect(name).await.query_one(text, &[]).await.expect("read");
            (row.get::<_, String>(0), row.get::<_, i64>(1), row.get::<_, String>(2))
        };
        assert_eq!(read(&original.name).await, read(&copy).await);
        drop_database(&server, &copy).await;
        drop(client);
        original.remove().await;
    }
}

/// Encoding or locale of a database, what is made in it by a client in UTF-8, and what it must hold.
const ENCODINGS: &[(&str, &str, &str)] =
    &[("LATIN1", "ÿ", "ä"), ("EUC_JP", "漢\n", "字"), ("WIN1251", "Жж", "ю"), ("UTF8", "\u{10FFFF}", "𝄞")];

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_other_encodings_keep_names_and_bytes() {
    for server in Server::all() {
        for (encoding, value, name) in ENCODINGS {
            let original = made(&server, &format!("ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")).await;
            let sql = format!(
                "CREATE SCHEMA \"{name}\"; CREATE TABLE \"{name}\".\"{name}\" (\"{name}\" text DEFAULT '{value}' CHECK (\"{name}\" <> '{name}'), b bytea);
                 INSERT INTO \"{name}\".\"{name}\" VALUES ('{value}', '\\x00ff'), ('{name}{name}', NULL);
                 CREATE TYPE \"{name}\".e AS ENUM ('{value}'); COMMENT ON TABLE \"{name}\".\"{name}\" IS '{value}';
                 CREATE FUNCTION \"{name}\".\"{name}\"() RETURNS text LANGUAGE sql AS 'SELECT ''{value}''::text'"
            );
            original.connect().await.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{encoding}: {e:?}"));
            let copy = round_trip(&original, encoding);
            drop_database(&server, &copy).await;
            original.remove().await;
        }
        // Without an encoding, rows may hold what is no text at all, and definitions may not.
        let original = made(&server, "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'").await;
        let client = original.connect().await;
        client.batch_execute("CREATE TABLE t (a text); INSERT INTO t VALUES (E'\\xff\\x80\\n\\xe9')").await.expect("bytes");
        let copy = round_trip(&original, "SQL_ASCII");
        drop_database(&server, &copy).await;
        client.batch_execute("DO $$ BEGIN EXECUTE E'CREATE TABLE \"n\\xe9\" ()'; END $$").await.expect("a name");
        let home = Home::new(StoreKind::File);
        home.policy("values", &original, "");
        home.run(&["backup", "values"]).exits(8).says(&["SQL_ASCII", "UTF-8"]);
        drop(client);
        original.remove().await;
    }
}

async fn made(server: &Server, form: &str) -> Database {
    let name = format!("pgkeep_encoding_{}", random_hex(4));
    server.admin(&[format!("CREATE DATABASE {} TEMPLATE template0 {form}", ident(&name))]).await;
    Database { server: server.clone(), name }
}
