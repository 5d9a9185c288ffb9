//! The shape that every file in `kinds/` has.

use tokio_postgres::Row;

use super::entry::{Entry, Scope};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::version::Version;

/// What a kind may know of the server while it renders.
#[derive(Debug, Clone)]
pub struct Context {
    /// Server version.
    pub version: Version,
    /// Name of the database, unquoted.
    pub database: String,
    /// Whether `pg_authid` is readable (false for RDS's master user).
    pub reads_passwords: bool,
    /// Whether connection strings of subscriptions are readable (for superusers and `pg_read_all_data`).
    pub reads_connections: bool,
}

/// An object of a catalog by oid: `classid` of `pg_depend` is the catalog's own oid, which is the same in every database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Oid of the catalog (`'pg_class'::regclass`).
    pub class: u32,
    /// Oid of the row.
    pub object: u32,
    /// Column number, 0 for the object itself.
    pub sub: i32,
}

impl Address {
    /// The object itself.
    pub const fn new(class: u32, object: u32) -> Self {
        Self { class, object, sub: 0 }
    }
}

/// Oids of the catalogs, fixed in PostgreSQL's own headers (`CATALOG(pg_class,1259,…)`).
#[allow(missing_docs, reason = "each is the catalog of its name")]
pub mod class {
    pub const PG_TYPE: u32 = 1247;
    pub const PG_ATTRIBUTE: u32 = 1249;
    pub const PG_PROC: u32 = 1255;
    pub const PG_CLASS: u32 = 1259;
    pub const PG_AUTHID: u32 = 1260;
    pub const PG_DATABASE: u32 = 1262;
    pub const PG_FOREIGN_SERVER: u32 = 1417;
    pub const PG_USER_MAPPING: u32 = 1418;
    pub const PG_FOREIGN_DATA_WRAPPER: u32 = 2328;
    pub const PG_ACCESS_METHOD: u32 = 2601;
    pub const PG_AMOP: u32 = 2602;
    pub const PG_AMPROC: u32 = 2603;
    pub const PG_ATTRDEF: u32 = 2604;
    pub const PG_CAST: u32 = 2605;
    pub const PG_CONSTRAINT: u32 = 2606;
    pub const PG_CONVERSION: u32 = 2607;
    pub const PG_EXTENSION: u32 = 3079;
    pub const PG_LANGUAGE: u32 = 2612;
    pub const PG_LARGEOBJECT: u32 = 2613;
    pub const PG_LARGEOBJECT_METADATA: u32 = 2995;
    pub const PG_NAMESPACE: u32 = 2615;
    pub const PG_OPCLASS: u32 = 2616;
    pub const PG_OPERATOR: u32 = 2617;
    pub const PG_REWRITE: u32 = 2618;
    pub const PG_TRIGGER: u32 = 2620;
    pub const PG_OPFAMILY: u32 = 2753;
    pub const PG_POLICY: u32 = 3256;
    pub const PG_STATISTIC_EXT: u32 = 3381;
    pub const PG_COLLATION: u32 = 3456;
    pub const PG_EVENT_TRIGGER: u32 = 3466;
    pub const PG_TRANSFORM: u32 = 3576;
    pub const PG_TS_DICT: u32 = 3600;
    pub const PG_TS_PARSER: u32 = 3601;
    pub const PG_TS_CONFIG: u32 = 3602;
    pub const PG_TS_TEMPLATE: u32 = 3764;
    pub const PG_DEFAULT_ACL: u32 = 826;
    pub const PG_PUBLICATION: u32 = 6104;
    pub const PG_PUBLICATION_REL: u32 = 6106;
    pub const PG_PUBLICATION_NAMESPACE: u32 = 6237;
    pub const PG_SUBSCRIPTION: u32 = 6100;
    pub const PG_PARAMETER_ACL: u32 = 6243;
    pub const PG_TABLESPACE: u32 = 1213;
    pub const PG_AUTH_MEMBERS: u32 = 1261;
}

/// An entry together with what the ordering needs to know of it.
#[derive(Debug)]
pub struct Draft {
    /// The object that the entry makes.
    pub address: Address,
    /// Other catalog rows that the entry also makes (a table's row type and its array type, a view's rule, a key's index): a dependency on
    /// any of them is a dependency on this entry.
    pub also: Vec<Address>,
    /// Dependencies beyond `pg_depend`, as addresses.
    pub needs: Vec<Address>,
    /// The entry, its `depends` still empty.
    pub entry: Entry,
    /// For objects that can be made in two steps where dependencies run in a circle (views).
    pub placeholder: Option<Placeholder>,
}

/// How an object is made in two steps: first something of the same shape, later its real definition.
#[derive(Debug)]
pub struct Placeholder {
    /// Statements that make the first step.
    pub create: Vec<Sql>,
    /// Statements that turn it into the real thing.
    pub complete: Vec<Sql>,
    /// The catalog row whose dependencies only the second step has (a view's rule).
    pub definition: Address,
    /// Whether the first step is of no use but to those in the circle (a shell type): whoever else depends on the object waits for the
    /// second step, which also brings owner, comment and privileges.
    pub shell: bool,
}

impl Draft {
    /// A draft that stands for one catalog row alone.
    pub fn new(address: Address, entry: Entry) -> Self {
        Self { address, also: Vec::new(), needs: Vec::new(), entry, placeholder: None }
    }
}

/// One kind of object. The list of all kinds is `kinds::KINDS`; its order breaks ties in the dependency order.
#[derive(Debug)]
pub struct Kind {
    /// Its name, as in entries and `docs/COVERAGE.md`.
    pub name: &'static str,
    /// Where its objects live.
    pub scope: Scope,
    /// The one statement that reads all its objects, `None` where the server's version has none. It runs with an empty `search_path`
    /// (so names of `pg_catalog` are found and every deparsed name is qualified), leaves out system objects and members of extensions,
    /// and is ordered by identity.
    pub query: fn(&Context) -> Option<String>,
    /// Renders the rows; it cannot run queries.
    pub read: fn(&[Row], &Context) -> Result<Vec<Draft>>,
}
