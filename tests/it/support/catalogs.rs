//! What the catalogs of a copy must have alike with those of its original, beyond what `pg_dump` prints: read with queries of its own that
//! name objects instead of giving their oids, and that share nothing with those of the export.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use super::server::Database;

/// Relations of the user, with their schema.
const OWN: &str =
    "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND c.relpersistence <> 't' AND c.oid >= 16384";

/// What is compared, and the query: one text column. Not-null constraints of partitions may be their own or their table's, and what a foreign
/// key has on the partitions of the table that it refers to has names that the server chooses.
const QUERIES: &[(&str, &str)] = &[
    (
        "columns",
        "SELECT concat_ws('|', c.oid::regclass, (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attnum > 0
                  AND b.attnum <= a.attnum AND NOT b.attisdropped), a.attname, format_type(a.atttypid, a.atttypmod), a.attstorage, a.attnotnull,
                a.atthasdef, a.attidentity, a.attgenerated, a.attislocal, a.attinhcount, a.attcollation::regcollation, a.attfdwoptions)
           FROM {own} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('i', 'I')",
    ),
    (
        "parents",
        "SELECT concat_ws('|', i.inhrelid::regclass, i.inhparent::regclass, rank() OVER (PARTITION BY i.inhrelid ORDER BY i.inhseqno))
           FROM {own} JOIN pg_inherits i ON i.inhrelid = c.oid",
    ),
    (
        "constraints",
        "SELECT concat_ws('|', CASE WHEN k.contype = 'f' AND k.conparentid <> 0 THEN '' ELSE k.conname END, k.contype, k.conrelid::regclass,
                k.condeferrable, k.condeferred, k.convalidated, CASE WHEN NOT c.relispartition THEN k.conislocal::text END,
                k.coninhcount, CASE WHEN k.contype IN ('c', 'n') THEN k.connoinherit::text END, k.conindid::regclass, k.conparentid <> 0,
                pg_get_constraintdef(k.oid))
           FROM {own} JOIN pg_constraint k ON k.conrelid = c.oid",
    ),
    (
        "indexes",
        "SELECT concat_ws('|', x.indexrelid::regclass, pg_get_indexdef(x.indexrelid), x.indisunique, x.indisprimary, x.indimmediate,
                x.indisclustered, x.indisvalid, x.indisreplident)
           FROM {own} JOIN pg_index x ON x.indrelid = c.oid WHERE x.indisvalid OR c.relkind = 'p'",
    ),
    (
        "triggers",
        "SELECT concat_ws('|', c.oid::regclass, regexp_replace(t.tgname, '_[0-9]+$', ''), t.tgfoid::regproc, t.tgtype, t.tgenabled,
                t.tgdeferrable, t.tginitdeferred, t.tgparentid <> 0)
           FROM {own} JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal",
    ),
    (
        "operator families",
        "SELECT concat_ws('|', f.opfname, o.amoplefttype::regtype, o.amoprighttype::regtype, o.amopstrategy,
                o.amopopr::regoperator) FROM pg_amop o JOIN pg_opfamily f ON f.oid = o.amopfamily WHERE o.oid >= 16384
         UNION ALL
         SELECT concat_ws('|', f.opfname, p.amproclefttype::regtype, p.amprocrighttype::regtype, p.amprocnum, p.amproc)
           FROM pg_amproc p JOIN pg_opfamily f ON f.oid = p.amprocfamily WHERE p.oid >= 16384",
    ),
    (
        "owners",
        "SELECT concat_ws('|', c.oid::regclass, c.relkind, c.relowner::regrole) FROM {own}
         UNION ALL SELECT concat_ws('|', p.oid::regprocedure, p.proowner::regrole) FROM pg_proc p WHERE p.proowner <> 10
         UNION ALL SELECT concat_ws('|', t.oid::regtype, t.typowner::regrole) FROM pg_type t
          WHERE t.typowner <> 10 AND t.typnamespace <> 'pg_toast'::regnamespace",
    ),
];

/// What differs, a line each.
pub(crate) async fn differences(original: &Database, copy: &Database) -> Vec<String> {
    let (from, to) = (original.connect().await, copy.connect().await);
    let mut found = Vec::new();
    for (what, query) in QUERIES {
        let sql = format!("SELECT x FROM ({}) q (x) ORDER BY x COLLATE \"C\"", query.replace("{own}", OWN));
        let mut sides = Vec::new();
        for client in [&from, &to] {
            client.batch_execute("SET search_path = ''").await.expect("search_path");
            let rows = client.query(&sql, &[]).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
            sides.push(rows.iter().map(|r| r.get::<_, String>(0)).collect::<Vec<_>>());
        }
        let missing = |a: &[String], b: &[String], sign: &str| -> Vec<String> {
            a.iter().filter(|line| !b.contains(line)).map(|line| format!("{sign} {what}: {line}")).collect()
        };
        found.extend(missing(&sides[0], &sides[1], "-"));
        found.extend(missing(&sides[1], &sides[0], "+"));
    }
    found
}
