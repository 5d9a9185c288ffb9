//! Runs the query of every kind in the caller's snapshot and puts what they render into an order in which it can be made again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::{Client, Row};

use super::depends::{self, Edge};
use super::entry::{Entry, Scope};
use super::kind::{Address, Context, Draft, Kind, class};
use super::kinds::KINDS;
use super::order::order;
use super::row::RowExt;
use super::{inventory, operators, unmodeled, warnings};
use crate::base::{Error, Result, ResultExt};
use crate::pg::version::Feature;

/// What a database holds, as far as its catalogs say.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Everything to make, in an order in which it can be made.
    pub entries: Vec<Entry>,
    /// The tables whose rows must be copied, by schema and name.
    pub tables: Vec<TableInfo>,
    /// Objects that no kind covers, one sentence each; such an object is not in the backup.
    pub unmodeled: Vec<String>,
    /// What the reader of the backup should know.
    pub warnings: Vec<String>,
}

/// A table whose rows must be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Oid in the source.
    pub oid: u32,
    /// Id of the entry that makes the table (the extension, for its configuration tables).
    pub entry: String,
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// Columns to copy, in their order, without generated ones; may be empty.
    pub columns: Vec<String>,
    /// Whether its rows are lost in a crash.
    pub unlogged: bool,
    /// Bytes of its heap, without indexes and TOAST.
    pub heap_bytes: u64,
    /// Blocks of its heap.
    pub blocks: u64,
    /// Whether it can be read by ranges of `ctid`: it is a heap, and the server scans such ranges (14 and later).
    pub ranges: bool,
    /// `WHERE …` of an extension's configuration table, as the extension registered it.
    pub condition: Option<String>,
}

/// Reads the database that `client` is connected to. Its session is in a REPEATABLE READ transaction with an empty `search_path`.
pub async fn extract(client: &Client, cx: &Context) -> Result<Catalog> {
    let Gathered { objects, tables, unmodeled, warnings } = gather(client, None, cx).await?;
    Ok(Catalog { entries: objects.in_order()?, tables, unmodeled, warnings })
}

/// A [`Catalog`] whose entries are not yet in order.
pub(crate) struct Gathered {
    pub(crate) objects: Objects,
    pub(crate) tables: Vec<TableInfo>,
    pub(crate) unmodeled: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// What the queries of all kinds rendered, and what `pg_depend` says of it.
pub(crate) struct Objects {
    drafts: Vec<Draft>,
    edges: Vec<Edge>,
    /// Ids of those whose rows are loaded in the data phase.
    loaded: HashSet<String>,
}

/// Runs all queries, half of them by `helper`, whose session is like that of `client` and in the same snapshot. What the helper cannot read, because a
/// migration stands between it and a lock that `client` has, `client` reads.
pub(crate) async fn gather(client: &Client, helper: Option<&Client>, cx: &Context) -> Result<Gathered> {
    let (mut drafts, helper) = drafts(client, helper, cx, |scope| scope != Scope::Cluster).await?;
    let beside = helper.unwrap_or(client);
    let others = async {
        inventory::check(beside, &drafts).await?;
        Ok((depends::edges(beside).await?, unmodeled::probe(beside).await?, warnings::read(beside, cx).await?))
    };
    let (tables, (edges, unmodeled, warnings)) = tokio::try_join!(tables(client, cx, &drafts), others)?;
    operators::add_paths(client, &mut drafts, &edges).await?;
    let loaded = tables.iter().map(|t| t.entry.clone()).collect();
    Ok(Gathered { objects: Objects { drafts, edges, loaded }, tables, unmodeled, warnings })
}

impl Objects {
    /// Entries in an order in which they can be made.
    pub(crate) fn in_order(self) -> Result<Vec<Entry>> {
        let entries = depends::resolve(self.drafts, self.edges);
        order(entries, &ranks(), &self.loaded)
    }
}

/// Reads what all databases of the server share: roles, memberships, tablespaces.
pub async fn extract_cluster(client: &Client, cx: &Context) -> Result<Catalog> {
    let (drafts, _) = drafts(client, None, cx, |scope| scope == Scope::Cluster).await?;
    let entries = order(depends::resolve(drafts, Vec::new()), &ranks(), &HashSet::new())?;
    let mut warnings = Vec::new();
    if !cx.reads_passwords {
        warnings.push("pg_authid is not readable: roles are in the backup without their passwords".to_owned());
    }
    Ok(Catalog { entries, warnings, ..Catalog::default() })
}

fn ranks() -> HashMap<&'static str, usize> {
    KINDS.iter().enumerate().map(|(i, kind)| (kind.name, i)).collect()
}

/// What all kinds render, in their order, and the helper if it was of use.
async fn drafts<'a>(
    client: &Client,
    helper: Option<&'a Client>,
    cx: &Context,
    wanted: impl Fn(Scope) -> bool,
) -> Result<(Vec<Draft>, Option<&'a Client>)> {
    let questions: Vec<Question> = KINDS
        .iter()
        .filter(|kind| wanted(kind.scope))
        .filter_map(|kind| Some(Question { kind, sql: (kind.query)(cx)? }))
        .collect();
    let queue = Mutex::new((0..questions.len()).collect::<VecDeque<usize>>());
    let done = Mutex::new(Vec::with_capacity(questions.len()));
    let beside = async {
        let helper = helper?;
        let outcome = render(helper, cx, &questions, &queue, &done).await;
        outcome.inspect_err(|error| tracing::info!(%error, "one session reads the rest of the catalogs")).ok().map(|()| helper)
    };
    let (own, helper) = tokio::join!(render(client, cx, &questions, &queue, &done), beside);
    own?;
    // What the helper left when there was nothing else to do.
    render(client, cx, &questions, &queue, &done).await?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    Ok((done.into_iter().flat_map(|(_, drafts)| drafts).collect(), helper))
}

/// The query of a kind.
struct Question {
    kind: &'static Kind,
    sql: String,
}

impl Question {
    async fn ask(&self, client: &Client) -> Result<Vec<Row>> {
        query(client, self.kind.name, &self.sql).await.context(|| self.failed())
    }

    fn render(&self, rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
        (self.kind.read)(rows, cx).context(|| self.failed())
    }

    fn failed(&self) -> String {
        format!("read objects of kind {}", self.kind.name)
    }
}

/// Asks the questions whose numbers are in `queue`, and renders the answer to each into `done` while the server works on the one after it. After an error
/// the questions that were begun are in the queue again.
async fn render(
    client: &Client,
    cx: &Context,
    questions: &[Question],
    queue: &Mutex<VecDeque<usize>>,
    done: &Mutex<Vec<(usize, Vec<Draft>)>>,
) -> Result<()> {
    let next = || lock(queue).pop_front();
    let again = |begun: usize| lock(queue).push_front(begun);
    let ask = async |asked: Option<usize>| match asked {
        Some(i) => questions[i].ask(client).await.inspect_err(|_| again(i)).map(Some),
        None => Ok(None),
    };
    let mut asked = next();
    let mut answer = ask(asked).await?;
    while let (Some(i), Some(rows)) = (asked, answer) {
        asked = next();
        // The first to be polled sends its query before the other keeps the thread busy.
        let (following, rendered) = tokio::join!(biased; ask(asked), async { questions[i].render(&rows, cx) });
        match rendered {
            Ok(drafts) => lock(done).push((i, drafts)),
            Err(error) => {
                again(i);
                // One whose query failed is there already.
                if let (Some(i), Ok(_)) = (asked, following) {
                    again(i);
                }
                return Err(error);
            }
        }
        answer = following?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one catalog query; `what` names it in errors.
pub(crate) async fn query(client: &Client, what: &str, sql: &str) -> Result<Vec<Row>> {
    client.query_typed(sql, &[]).await.map_err(|e| query_error(what, &e))
}

fn query_error(what: &str, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::unavailable(format!("the connection failed while reading the catalogs ({what}): {error}"));
    };
    let sentence = format!("the server refused the catalog query for {what}: {} (SQLSTATE {})", db.message(), db.code().code());
    match db.code().code() {
        "42501" => Error::denied(sentence).hint("grant the backup's role pg_read_all_data, or make it the owner"),
        // Functions such as pg_get_viewdef read the present catalogs, not the snapshot: an object dropped since then is not found.
        "XX000" | "42P01" | "42883" | "42704" | "3F000" | "40001" | "55P03" | "57014" => Error::unavailable(sentence)
            .hint("an object may have been changed or dropped while the backup began; the next try reads it again"),
        "22021" | "22P05" => Error::unsupported(sentence).hint(
            "a name or definition is no text in the database's encoding (as SQL_ASCII allows); rows may hold any bytes, definitions must be UTF-8",
        ),
        code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => Error::unavailable(sentence),
        _ => Error::internal(sentence),
    }
}

/// Tables whose rows are copied: ordinary ones that are not members of an extension, and registered configuration tables of extensions.
const TABLES: &str = "
SELECT c.oid, n.nspname AS schema, c.relname AS name, x.extension, x.condition,
       c.relpersistence = 'u' AS unlogged, coalesce(am.amname = 'heap', false) AS heap,
       pg_relation_size(c.oid) AS bytes, current_setting('block_size')::int8 AS block_size,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum) AS columns
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_am am ON am.oid = c.relam
  LEFT JOIN (SELECT e.oid AS extension, t.oid AS relation, nullif(e.extcondition[t.ord], '') AS condition
               FROM pg_extension e, unnest(e.extconfig) WITH ORDINALITY t (oid, ord)) x ON x.relation = c.oid
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND (x.extension IS NOT NULL
        OR NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                          AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'))
 ORDER BY n.nspname, c.relname";

async fn tables(client: &Client, cx: &Context, drafts: &[Draft]) -> Result<Vec<TableInfo>> {
    let ids: HashMap<Address, &str> = drafts.iter().map(|d| (d.address, d.entry.id.as_str())).collect();
    let rows = query(client, "tables to copy", TABLES).await?;
    rows.iter().map(|row| table(row, cx, &ids)).collect()
}

fn table(row: &Row, cx: &Context, ids: &HashMap<Address, &str>) -> Result<TableInfo> {
    let oid = row.oid("oid")?;
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let address = match row.col::<Option<u32>>("extension")? {
        Some(extension) => Address::new(class::PG_EXTENSION, extension),
        None => Address::new(class::PG_CLASS, oid),
    };
    let entry = ids.get(&address).ok_or_else(|| Error::integrity(format!("no entry creates the table {schema}.{name}")))?;
    let bytes = u64::try_from(row.col::<Option<i64>>("bytes")?.unwrap_or(0)).unwrap_or(0);
    let block = u64::try_from(row.col::<i64>("block_size")?).unwrap_or(8192).max(1);
    Ok(TableInfo {
        oid,
        entry: (*entry).to_owned(),
        schema,
        name,
        columns: row.col("columns")?,
        unlogged: row.flag("unlogged")?,
        heap_bytes: bytes,
        blocks: bytes / block,
        ranges: row.flag("heap")? && cx.version.has(Feature::TidRanges),
        condition: row.opt_text("condition")?,
    })
}
