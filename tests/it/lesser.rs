//! Backups and restores by a role that is no superuser, as on a managed service: what it cannot make is named before and after, one by one, and
//! everything else is there.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::pg::catalog::entry::Entry;
use pgkeep::pg::export::export_cluster;
use pgkeep::pg::restore::{Loss, Part, RestoreInput, RestoreOptions, RestoreOutcome, execute, plan};

use super::support::rows::{Memory, clock, export_to, input, options, silent, target};
use super::support::server::{Database, Server};

/// Entry, part, and the statement unless it is the object: what both lists have in common.
type Missing = BTreeSet<(String, Part, Option<String>)>;

fn before(losses: &[Loss]) -> Missing {
    losses.iter().map(|l| (l.entry.clone(), l.part, l.statement.clone())).collect()
}

fn after(outcome: &RestoreOutcome) -> Missing {
    let statement = |part: Part, text: &str| (part != Part::Object).then(|| text.to_owned());
    let errors = outcome.errors.iter().map(|e| (e.entry.clone(), e.part, statement(e.part, &e.statement)));
    errors.chain(outcome.skipped.iter().map(|s| (s.entry.clone(), Part::Object, None))).collect()
}

/// The roles of one test, by what they are for.
struct Cast {
    names: BTreeMap<&'static str, String>,
    tag: String,
}

impl Cast {
    fn new() -> Self {
        let tag = random_hex(4);
        let names = ["master", "service", "app", "reader", "maker", "boss", "stranger"];
        Self { names: names.iter().map(|n| (*n, format!("{n}_{tag}"))).collect(), tag }
    }

    fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (key, name)| text.replace(&format!("{{{key}}}"), name))
    }

    async fn admin(&self, server: &Server, statements: &[&str]) {
        let filled: Vec<String> = statements.iter().map(|s| self.fill(s)).collect();
        server.admin(&filled).await;
    }

    /// A URL of `database` with which the master user logs in.
    fn url(&self, server: &Server, database: &str) -> String {
        let mut url = url::Url::parse(&server.url(database)).expect("URL");
        url.set_username(&self.names["master"]).expect("user");
        url.set_password(Some("weak")).expect("password");
        url.into()
    }
}

/// As the master user of a managed service: it may make roles and databases, and belongs to a role that reads and watches everything.
const MASTER: &[&str] = &[
    "CREATE ROLE {service}",
    "GRANT pg_read_all_data, pg_monitor, pg_signal_backend TO {service}",
    "CREATE ROLE {master} LOGIN CREATEDB CREATEROLE PASSWORD 'weak'",
    "GRANT {service} TO {master}",
    "CREATE ROLE {stranger}",
];

const ROLES: &[&str] = &[
    "CREATE ROLE {app} LOGIN CREATEDB PASSWORD 'app'",
    "CREATE ROLE {reader} CONNECTION LIMIT 5",
    "CREATE ROLE {maker}",
    "CREATE ROLE {boss} SUPERUSER REPLICATION BYPASSRLS LOGIN",
    "GRANT {reader} TO {app} WITH ADMIN OPTION",
    "GRANT {stranger} TO {maker}",
    "ALTER ROLE {app} SET work_mem = '6MB'",
    "ALTER ROLE {app} SET log_min_duration_statement = 7",
    "ALTER ROLE {app} SET statement_timeout = '1h'",
    "COMMENT ON ROLE {maker} IS 'makes'",
];

const DATABASE: &[&str] = &[
    "ALTER DATABASE {d} OWNER TO {app}",
    "ALTER DATABASE {d} SET log_min_duration_statement = 8",
    "ALTER DATABASE {d} SET work_mem = '7MB'",
    "ALTER DATABASE {d} SET my.parameter = 'x'",
    "ALTER DATABASE {d} SET lock_timeout = '2h'",
    "ALTER ROLE {reader} IN DATABASE {d} SET work_mem = '9MB'",
    "GRANT CONNECT ON DATABASE {d} TO {reader}",
    "COMMENT ON DATABASE {d} IS 'everything'",
];

const DROPS: &[&str] = &["DROP ROLE {app}, {reader}, {maker}, {boss}"];

async fn original(server: &Server, cast: &Cast) -> (Database, Memory, RestoreInput) {
    cast.admin(server, MASTER).await;
    cast.admin(server, ROLES).await;
    let database = server.database("lesser").await;
    let client = database.connect().await;
    let text =
        cast.fill(&std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/lesser.sql")).expect("lesser.sql"));
    for statement in text.split(";\n").filter(|s| !s.trim().is_empty()) {
        client.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
    }
    drop(client);
    let settings: Vec<String> = DATABASE.iter().map(|s| cast.fill(s).replace("{d}", &database.name)).collect();
    server.admin(&settings).await;
    let memory = Memory::default();
    let mut backup = input(export_to(&memory, &database.url(), &options()).await.expect("export"));
    let cluster = export_cluster(&target(&server.url("postgres"))).await.expect("export roles").entries;
    backup.cluster = cluster.into_iter().filter(|e| e.id.contains(&cast.tag) && !e.id.contains("service_")).collect();
    (database, memory, backup)
}

/// Lines that say how the next object is made, and transactions of large objects.
const IGNORED: &[&str] = &["SET default_table", "BEGIN;", "COMMIT;"];

/// Blocks of a dump by their header: name, type, schema. Owners stand in the text where an object has one of its own; what only says how the next
/// object is made is left out, as another may come next in a copy.
fn blocks(dump: &str) -> BTreeMap<String, String> {
    let mut blocks: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in dump.lines() {
        if let Some(header) = line.strip_prefix("-- Name: ").or_else(|| line.strip_prefix("-- Data for Name: ")) {
            let data = if line.starts_with("-- Data") { " rows" } else { "" };
            let (name, _) = header.rsplit_once("; Owner: ").expect("an owner");
            current = format!("{name}{data}");
            // Large objects share blocks by owner.
            if let Some((_, kind)) = name.split_once("; Type: BLOB") {
                current = format!("large objects{kind}{data}");
                continue;
            }
            assert!(blocks.insert(current.clone(), String::new()).is_none(), "two blocks are called {current}");
        } else if line != "--" && !line.is_empty() && !IGNORED.iter().any(|i| line.starts_with(i)) {
            let block = blocks.entry(current.clone()).or_default();
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

/// Whether a block is of an object: its name stands in the header.
fn is_of(header: &str, entry: &Entry) -> bool {
    if entry.kind == "publication_member" && !header.contains("Type: PUBLICATION TABLE") {
        return false;
    }
    if entry.kind == "default_privileges" {
        return header.ends_with(&format!("Type: DEFAULT ACL; Schema: {}", entry.schema.as_deref().unwrap_or("-")));
    }
    let name = header.split(';').next().unwrap_or_default();
    if name == entry.name {
        return true;
    }
    let bare = entry.name.trim_matches(|c| c == '(' || c == ')');
    name.contains(bare) && name.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| bare.split(' ').any(|b| b == w))
}

/// What the dump of a copy must be: the original's without what is named as lost.
fn expected(original: &str, losses: &[Loss], backup: &RestoreInput, cast: &Cast) -> BTreeMap<String, String> {
    let by_id: HashMap<&str, &Entry> = backup.entries.iter().map(|e| (e.id.as_str(), e)).collect();
    let of = |part: Part| -> Vec<&Entry> {
        losses.iter().filter(|l| l.part == part).filter_map(|l| by_id.get(l.entry.as_str()).copied()).collect()
    };
    let (objects, owners, grantors) = (of(Part::Object), of(Part::Owner), of(Part::Grantor));
    let privileges = of(Part::Privileges);
    let mut blocks = blocks(original);
    // What is lost of a table without a block of its own.
    let own_block = |e: &&&Entry| e.kind != "column_default";
    blocks.retain(|header, _| {
        let acl = header.contains("Type: ACL") || header.contains("Type: DEFAULT ACL");
        !(objects.iter().filter(own_block).any(|e| is_of(header, e)) || acl && privileges.iter().any(|e| is_of(header, e)))
    });
    let (master, stranger) = (&cast.names["master"], &cast.names["stranger"]);
    for (header, text) in &mut blocks {
        if owners.iter().any(|e| is_of(header, e)) {
            *text = text.replace(&format!("OWNER TO {stranger}"), "OWNER TO postgres");
            *text = text.replace("OWNER TO postgres", &format!("OWNER TO {master}"));
        }
        for object in owners.iter().filter(|e| e.kind == "large_object" && header.starts_with("large objects")) {
            let (line, owner) =
                (format!("ALTER LARGE OBJECT {} OWNER TO ", object.name), object.owner.as_deref().unwrap_or_default());
            *text = text.replace(&format!("{line}{owner};"), &format!("{line}{master};"));
        }
        sort_objects(header, text);
        if grantors.iter().any(|e| is_of(header, e)) {
            let mut inside = false;
            let mut kept = |l: &&str| {
                let begins = l.starts_with("SET SESSION AUTHORIZATION") && l.contains(stranger.as_str());
                let ends = inside && l.starts_with("RESET SESSION");
                inside = begins || inside && !ends;
                !begins && !ends
            };
            *text = text.split_inclusive('\n').filter(&mut kept).collect();
        }
        if header.starts_with("t_default; Type: TABLE") {
            *text = text.replace(" DEFAULT app.f_internal(1)", "");
        }
    }
    blocks
}

/// The metadata of large objects come in groups of one owner.
fn sort_objects(header: &str, text: &mut String) {
    if header.starts_with("large objects METADATA") {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        *text = lines.join("\n");
    }
}

fn differences(expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let mut all = Vec::new();
    for (header, text) in expected {
        match found.get(header) {
            None => all.push(format!("missing: {header}")),
            Some(other) if other != text => all.push(format!("{header}\n--- expected\n{text}--- found\n{other}")),
            Some(_) => {}
        }
    }
    all.extend(found.keys().filter(|h| !expected.contains_key(*h)).map(|h| format!("extra: {h}")));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lesser_role_cannot_restore_is_named_before_and_after_and_nothing_else_is_missing() {
    for server in Server::all() {
        for no_owner in [false, true] {
            let cast = Cast::new();
            let (database, memory, backup) = original(&server, &cast).await;
            let arguments: &[&str] = if no_owner { &["--no-owner"] } else { &[] };
            let dump = server.pg_dump(&database.name, arguments);
            database.remove().await;
            cast.admin(&server, DROPS).await;

            let copy = format!("lesser_copy_{}", cast.tag);
            let goal = target(&cast.url(&server, &copy));
            let wanted = RestoreOptions { jobs: 2, no_owner, ..RestoreOptions::default() };
            let plan = plan(&goal, &backup, &wanted).await.expect("plan");
            let outcome = execute(&goal, &backup, &plan, Arc::new(memory), &silent(), &Shutdown::new(), &clock()).await;
            let outcome = outcome.expect("restore");
            let (named, found) = (before(&plan.losses), after(&outcome));
            let what = format!("PostgreSQL {}, no owner {no_owner}", server.major);
            assert_eq!(
                (named.difference(&found).collect::<Vec<_>>(), found.difference(&named).collect::<Vec<_>>()),
                (vec![], vec![]),
                "{what}: named before alone, and named after alone: {:#?}",
                outcome.errors
            );
            assert!(!outcome.is_complete() && plan.losses.len() > 40, "{what}: {:#?}", plan.losses);
            let text = plan.to_string();
            for loss in &plan.losses {
                assert!(text.contains(&loss.to_string()), "{loss}");
            }

            let expected = expected(&dump, &plan.losses, &backup, &cast);
            let mut copied = blocks(&server.pg_dump(&copy, arguments));
            for (header, text) in &mut copied {
                sort_objects(header, text);
            }
            let differs = differences(&expected, &copied);
            assert!(differs.is_empty(), "{what}:\n{}", differs.join("\n"));
            let client = server.connect(&copy).await;
            let seen: i64 = client.query_one("SELECT count(*) FROM app.mv_rows", &[]).await.expect("count").get(0);
            // Its owner sees three rows of a table of another role, and all of a table of its own.
            assert_eq!(seen, if no_owner { 10 } else { 3 }, "{what}");
            drop(client);
            assert!(expected.len() > 60, "{what}: {}", expected.len());
            server.admin(&[format!("DROP DATABASE {copy} WITH (FORCE)")]).await;
            cast.admin(&server, DROPS).await;
            cast.admin(&server, &["DROP ROLE {master}, {service}, {stranger}"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_by_a_lesser_role_holds_all_that_a_superuser_sees_or_fails_and_says_why() {
    for server in Server::all() {
        let cast = Cast::new();
        let (database, memory, whole) = original(&server, &cast).await;
        let export = async |url: String| {
            let memory = Memory::default();
            export_to(&memory, &url, &options()).await.map(|export| (export, memory))
        };
        let refused = async |url: String, words: &[&str]| {
            let error = export(url).await.err().expect("refused");
            assert_eq!(error.kind(), pgkeep::base::Kind::Denied, "{error:?}");
            let text = format!("{error:?}");
            assert!(words.iter().all(|w| text.contains(w)), "PostgreSQL {}: {text}", server.major);
        };
        // Rows are never hidden in silence.
        let master = cast.url(&server, &database.name);
        refused(master.clone(), &["row security", "BYPASSRLS", "t_rows"]).await;
        let client = database.connect().await;
        client
            .batch_execute(
                "ALTER TABLE app.t_rows DISABLE ROW LEVEL SECURITY; ALTER TABLE app.t_secret DISABLE ROW LEVEL SECURITY",
            )
            .await
            .expect("alter");

        let (lesser, rows) = export(master).await.expect("export by the master user");
        let without = |entries: &[Entry]| -> Vec<Entry> {
            entries.iter().filter(|e| !["user_mapping", "row_security"].contains(&e.kind.as_str())).cloned().collect()
        };
        assert_eq!(without(&lesser.entries), without(&whole.entries), "PostgreSQL {}", server.major);
        assert_eq!(lesser.tables, whole.tables[..], "PostgreSQL {}", server.major);
        for stream in whole.tables.iter().flat_map(|t| &t.streams) {
            assert_eq!(rows.stream(&stream.stream), memory.stream(&stream.stream), "{}", stream.stream);
        }
        let warnings = lesser.warnings.join("\n");
        assert!(
            warnings.contains(&format!("options of the user mapping of {} on server sv_own", cast.names["reader"])),
            "{warnings}"
        );

        // Without pg_read_all_data, each object must be readable by itself.
        let grants = "GRANT USAGE ON SCHEMA shared TO {app}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {app}; GRANT SELECT ON ALL SEQUENCES IN SCHEMA app TO {app}";
        client.batch_execute(&cast.fill(grants)).await.expect("grant");
        let mut app = url::Url::parse(&database.url()).expect("URL");
        app.set_username(&cast.names["app"]).expect("user");
        app.set_password(Some("app")).expect("password");
        refused(app.to_string(), &["large object 4712", "GRANT SELECT ON LARGE OBJECT 4712", "1 more"]).await;
        client
            .batch_execute(&cast.fill("GRANT SELECT ON LARGE OBJECT 4712 TO PUBLIC; GRANT SELECT ON LARGE OBJECT 4713 TO {app}"))
            .await
            .expect("grant");
        let (app, rows) = export(app.to_string()).await.expect("export by the owner");
        assert_eq!(app.tables, whole.tables[..], "PostgreSQL {}", server.major);
        assert_eq!(rows.stream("large_objects/0"), memory.stream("large_objects/0"));
        drop(client);
        database.remove().await;
        cast.admin(&server, DROPS).await;
        cast.admin(&server, &["DROP ROLE {master}, {service}, {stranger}"]).await;
    }
}
