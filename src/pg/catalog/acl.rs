//! Access privileges: from `aclitem[]` to GRANT and REVOKE against what a new object has.
//!
//! The statements give the restored object the same array, item by item and in the same order, because the order of items is the order
//! in which a later dump grants them. Grants made by somebody else than the owner run as that role.

use crate::base::sql::{Sql, ident};
use crate::base::{Error, Result};
use crate::pg::version::{Feature, Version};

/// Every privilege: its letter in an `aclitem` and its keyword in GRANT.
const PRIVILEGES: &[(char, &str)] = &[
    ('r', "SELECT"),
    ('a', "INSERT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('m', "MAINTAIN"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
];

/// Type of an object as its privileges go; the letters are those of PostgreSQL's `acldefault()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AclType {
    /// `c`
    Column,
    /// `r`: tables, views, materialised views, foreign tables.
    Table,
    /// `s`
    Sequence,
    /// `d`
    Database,
    /// `f`: functions, procedures, aggregates.
    Function,
    /// `l`
    Language,
    /// `L`
    LargeObject,
    /// `n`
    Schema,
    /// `t`
    Tablespace,
    /// `F`
    ForeignDataWrapper,
    /// `S`
    ForeignServer,
    /// `T`: types and domains.
    Type,
    /// `p`
    Parameter,
}

impl AclType {
    /// Letter for `acldefault()`.
    pub const fn letter(self) -> char {
        match self {
            Self::Column => 'c',
            Self::Table => 'r',
            Self::Sequence => 's',
            Self::Database => 'd',
            Self::Function => 'f',
            Self::Language => 'l',
            Self::LargeObject => 'L',
            Self::Schema => 'n',
            Self::Tablespace => 't',
            Self::ForeignDataWrapper => 'F',
            Self::ForeignServer => 'S',
            Self::Type => 'T',
            Self::Parameter => 'p',
        }
    }

    /// All privileges that apply to the type.
    fn all(self, version: Version) -> Privileges {
        let letters = match self {
            Self::Column => "rawx",
            Self::Table if version.has(Feature::MaintainPrivilege) => "rawdDxtm",
            Self::Table => "rawdDxt",
            Self::Sequence => "rwU",
            Self::Database => "CTc",
            Self::Function => "X",
            Self::LargeObject => "rw",
            Self::Schema => "UC",
            Self::Tablespace => "C",
            Self::Language | Self::ForeignDataWrapper | Self::ForeignServer | Self::Type => "U",
            Self::Parameter => "sA",
        };
        Privileges::of(letters)
    }

    /// What PUBLIC has by default.
    fn public(self) -> Privileges {
        Privileges::of(match self {
            Self::Database => "Tc",
            Self::Function => "X",
            Self::Language | Self::Type => "U",
            _ => "",
        })
    }
}

/// The object that privileges are of.
#[derive(Debug, Clone)]
pub struct AclObject {
    /// Type.
    pub kind: AclType,
    /// What follows ON, names quoted: `TABLE "s"."t"`, `FUNCTION "s"."f"(integer)`, `TABLES` for default privileges.
    pub phrase: Sql,
    /// Column, unquoted, for privileges of one column; `phrase` is its table's.
    pub column: Option<String>,
    /// What stands before GRANT or REVOKE: `ALTER DEFAULT PRIVILEGES FOR ROLE "r" `, else empty.
    pub prefix: Sql,
    /// Version of the server that the privileges were read from.
    pub version: Version,
}

impl AclObject {
    /// An object that is neither a column nor default privileges.
    pub fn new(kind: AclType, phrase: impl Into<Sql>, version: Version) -> Self {
        Self { kind, phrase: phrase.into(), column: None, prefix: Sql::new(), version }
    }

    /// One column of the table `phrase`: `TABLE "s"."t"`.
    pub fn column(phrase: impl Into<Sql>, column: &str, version: Version) -> Self {
        Self { column: Some(column.to_owned()), ..Self::new(AclType::Column, phrase, version) }
    }

    /// Privileges as GRANT lists them, `ALL` where the set is complete for the type in the newest version, as `pg_dump` writes it: what
    /// grants all of an older version's privileges says nothing of one that came later.
    fn list(&self, privileges: Privileges) -> String {
        let column = self.column.as_ref().map(|c| format!("({})", ident(c))).unwrap_or_default();
        if privileges == self.kind.all(Version(Version::NEWEST_TESTED * 10_000)) {
            return format!("ALL{column}");
        }
        let names: Vec<String> = privileges.names().map(|n| format!("{n}{column}")).collect();
        names.join(",")
    }
}

/// A set of privileges, as a bit for each line of [`PRIVILEGES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Privileges(u32);

impl Privileges {
    fn of(letters: &str) -> Self {
        letters.chars().filter_map(Self::letter).fold(Self(0), Self::with)
    }

    fn letter(letter: char) -> Option<Self> {
        PRIVILEGES.iter().position(|(l, _)| *l == letter).map(|i| Self(1 << i))
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        PRIVILEGES.iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, (_, name))| *name)
    }
}

/// One `aclitem`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// `None` is PUBLIC.
    grantee: Option<String>,
    grantor: String,
    /// All privileges held.
    held: Privileges,
    /// Those held with grant option.
    options: Privileges,
}

impl Item {
    /// Parses `grantee=letters/grantor`, `*` after a letter for the grant option; names are quoted where `putid()` quotes them.
    fn parse(text: &str) -> Result<Self> {
        let broken = || Error::unsupported(format!("the access privilege {text:?} has a form that this version does not know"));
        let (grantee, rest) = take_name(text).ok_or_else(broken)?;
        let rest = rest.strip_prefix('=').ok_or_else(broken)?;
        let (letters, grantor) = rest.split_once('/').ok_or_else(broken)?;
        let (grantor, end) = take_name(grantor).ok_or_else(broken)?;
        if !end.is_empty() || grantor.is_empty() {
            return Err(broken());
        }
        let mut item =
            Self { grantee: Some(grantee).filter(|g| !g.is_empty()), grantor, held: Privileges(0), options: Privileges(0) };
        let mut last = None;
        for letter in letters.chars() {
            if letter == '*' {
                item.options = item.options.with(last.take().ok_or_else(broken)?);
            } else {
                let privilege = Privileges::letter(letter).ok_or_else(broken)?;
                item.held = item.held.with(privilege);
                last = Some(privilege);
            }
        }
        Ok(item)
    }

    /// What ALTER … OWNER TO makes of it.
    fn hand_over(&mut self, from: &str, to: &str) {
        if self.grantor == from {
            to.clone_into(&mut self.grantor);
        }
        if let Some(grantee) = self.grantee.as_mut().filter(|g| *g == from) {
            to.clone_into(grantee);
        }
    }

    fn parse_all(texts: &[String]) -> Result<Vec<Self>> {
        texts.iter().map(|t| Self::parse(t)).collect()
    }
}

/// Takes a role name off the front: up to a character that `putid()` would have quoted, or a quoted name with doubled quotes.
fn take_name(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['=', '/']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// What a new object of the type has, as `acldefault()` says.
fn default_acl(kind: AclType, owner: &str, version: Version) -> Vec<Item> {
    let item = |grantee: Option<&str>, held| Item {
        grantee: grantee.map(str::to_owned),
        grantor: owner.to_owned(),
        held,
        options: Privileges(0),
    };
    let mut items = vec![item(None, kind.public()), item(Some(owner), kind.all(version))];
    if kind == AclType::Column {
        items.clear();
    }
    items.retain(|i| !i.held.is_empty());
    items
}

/// The statements that turn the privileges `base` of a new object into `acl`.
///
/// `acl` is the array of the catalog as text, `None` where it is NULL (the default of the type). `base` is what the object has when it is made:
/// `None` for the default of the type, else its row in `pg_init_privs`, or an empty slice for default privileges in a schema.
/// Where the object has another owner by then than it had in `base`, who granted the first item of it, his items are the present owner's.
/// Privileges of a table come before those of its columns, because REVOKE on a table takes those of its columns away.
pub fn privileges(object: &AclObject, owner: &str, acl: Option<&[String]>, base: Option<&[String]>) -> Result<Vec<Sql>> {
    let default = || default_acl(object.kind, owner, object.version);
    let goal = acl.map_or_else(|| Ok(default()), Item::parse_all)?;
    let mut base = base.map_or_else(|| Ok(default()), Item::parse_all)?;
    if let Some(first) = base.first().map(|i| i.grantor.clone()).filter(|first| first != owner) {
        for item in &mut base {
            item.hand_over(&first, owner);
        }
    }
    let kept: Vec<&Item> = base.iter().filter(|i| goal.contains(i)).collect();
    let prefix_kept = kept.iter().copied().eq(goal.iter().take(kept.len()));
    let kept = if prefix_kept { kept.len() } else { 0 };
    let mut out = Vec::new();
    for item in base.iter().rev().filter(|i| !goal[..kept].contains(i)) {
        as_grantor(&mut out, object, owner, &item.grantor, vec![revoke(object, item)]);
    }
    grant_all(&mut out, object, owner, &goal, kept);
    Ok(out)
}

/// Grants `goal[done..]` in order, each item only when its grantor holds the grant options by then. An item whose options come later in the
/// array (the array keeps an item's place when its source changes) waits for them.
fn grant_all(out: &mut Vec<Sql>, object: &AclObject, owner: &str, goal: &[Item], done: usize) {
    let mut granted: Vec<Item> = goal[..done].to_vec();
    let mut pending: Vec<Item> = goal[done..].to_vec();
    while !pending.is_empty() {
        let ready = |item: &Item| {
            if item.grantor == owner {
                return item.held;
            }
            let held = granted.iter().filter(|g| g.grantee.as_ref() == Some(&item.grantor));
            held.fold(Privileges(0), |all, g| all.with(g.options)).and(item.held)
        };
        let whole = pending.iter().position(|i| ready(i) == i.held);
        let index = whole.or_else(|| pending.iter().position(|i| !ready(i).is_empty())).unwrap_or(0);
        let mut part = pending[index].clone();
        let now = if ready(&part).is_empty() { part.held } else { ready(&part) };
        let rest = Item { held: part.held.without(now), options: part.options.without(now), ..part.clone() };
        part.held = now;
        part.options = part.options.and(now);
        as_grantor(out, object, owner, &part.grantor, grants(object, &part));
        granted.push(part);
        if rest.held.is_empty() {
            pending.remove(index);
        } else {
            pending[index] = rest;
        }
    }
}

fn as_grantor(out: &mut Vec<Sql>, object: &AclObject, owner: &str, grantor: &str, statements: Vec<Sql>) {
    let change = grantor != owner && object.prefix == Sql::new();
    if change {
        out.push(Sql::from("SET SESSION AUTHORIZATION ").role(grantor));
    }
    out.extend(statements);
    if change {
        out.push(Sql::from("RESET SESSION AUTHORIZATION"));
    }
}

fn revoke(object: &AclObject, item: &Item) -> Sql {
    let head = object.prefix.clone().text(format!("REVOKE {} ON ", object.list(item.held)));
    party(head.append(&object.phrase).text(" FROM "), item)
}

fn grants(object: &AclObject, item: &Item) -> Vec<Sql> {
    let grant = |privileges: Privileges| {
        let head = object.prefix.clone().text(format!("GRANT {} ON ", object.list(privileges)));
        party(head.append(&object.phrase).text(" TO "), item)
    };
    let plain = item.held.without(item.options);
    let mut out = Vec::new();
    if !plain.is_empty() {
        out.push(grant(plain));
    }
    if !item.options.is_empty() {
        out.push(grant(item.options).text(" WITH GRANT OPTION"));
    }
    out
}

fn party(sql: Sql, item: &Item) -> Sql {
    match &item.grantee {
        Some(role) => sql.role(role),
        None => sql.text("PUBLIC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V15: Version = Version(150_018);
    const V17: Version = Version(170_010);

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|i| (*i).to_owned()).collect()
    }

    fn run(object: &AclObject, acl: Option<&[&str]>, base: Option<&[&str]>) -> Vec<String> {
        let (acl, base) = (acl.map(texts), base.map(texts));
        let statements = privileges(object, "owner", acl.as_deref(), base.as_deref()).expect("statements");
        statements.iter().map(Sql::plain).collect()
    }

    fn table(version: Version) -> AclObject {
        AclObject::new(AclType::Table, "TABLE t", version)
    }

    #[test]
    fn default_privileges_need_no_statement_in_either_form() {
        assert!(run(&table(V15), None, None).is_empty());
        assert!(run(&table(V15), Some(&["owner=arwdDxt/owner"]), None).is_empty());
        assert!(run(&table(V17), Some(&["owner=arwdDxtm/owner"]), None).is_empty());
    }

    #[test]
    fn grants_keep_the_order_of_the_array_and_name_their_grantor() {
        let acl = ["owner=arwdDxt/owner", "\"we\"\"ird /=\"=r*w/owner", "b=r/\"we\"\"ird /=\"", "=x/owner"];
        let expected = [
            "GRANT UPDATE ON TABLE t TO \"we\"\"ird /=\"",
            "GRANT SELECT ON TABLE t TO \"we\"\"ird /=\" WITH GRANT OPTION",
            "SET SESSION AUTHORIZATION \"we\"\"ird /=\"",
            "GRANT SELECT ON TABLE t TO \"b\"",
            "RESET SESSION AUTHORIZATION",
            "GRANT REFERENCES ON TABLE t TO PUBLIC",
        ];
        assert_eq!(run(&table(V15), Some(&acl), None), expected);
    }

    #[test]
    fn everything_revoked_differs_from_the_default() {
        let all_of_15 = "REVOKE SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER ON TABLE t FROM \"owner\"";
        assert_eq!(run(&table(V17), Some(&[]), None), ["REVOKE ALL ON TABLE t FROM \"owner\""]);
        assert_eq!(run(&table(V15), Some(&[]), None), [all_of_15]);
        let reduced = run(&table(V17), Some(&["owner=r/owner"]), None);
        assert_eq!(reduced, ["REVOKE ALL ON TABLE t FROM \"owner\"", "GRANT SELECT ON TABLE t TO \"owner\""]);
    }

    #[test]
    fn another_order_of_the_default_items_is_granted_anew() {
        let function = AclObject::new(AclType::Function, "FUNCTION f()", V15);
        let statements = run(&function, Some(&["owner=X/owner", "=X/owner"]), None);
        assert_eq!(statements[2..], ["GRANT ALL ON FUNCTION f() TO \"owner\"", "GRANT ALL ON FUNCTION f() TO PUBLIC"]);
    }

    #[test]
    fn an_item_waits_for_the_grant_option_that_it_was_made_with() {
        let acl = ["owner=arwdDxt/owner", "b=r/a", "a=r*/owner"];
        let statements = run(&table(V15), Some(&acl), None);
        assert_eq!(statements[0], "GRANT SELECT ON TABLE t TO \"a\" WITH GRANT OPTION");
        assert_eq!(statements[2], "GRANT SELECT ON TABLE t TO \"b\"");
    }

    #[test]
    fn columns_and_initial_privileges_have_their_own_base() {
        let column = AclObject::column("TABLE t", "a\"b", V15);
        assert_eq!(
            run(&column, Some(&["x=rw/owner"]), None),
            ["GRANT SELECT(\"a\"\"b\"),UPDATE(\"a\"\"b\") ON TABLE t TO \"x\""]
        );
        let base = ["owner=arwdDxt/owner", "=r/owner"];
        assert_eq!(run(&table(V15), None, Some(&base)), ["REVOKE SELECT ON TABLE t FROM PUBLIC"]);
        assert!(run(&table(V15), Some(&base), Some(&base)).is_empty());
    }

    #[test]
    fn an_unknown_letter_is_an_error_that_shows_the_item() {
        let error = privileges(&table(V15), "o", Some(&texts(&["o=q/o"])), None).expect_err("unknown letter");
        assert!(error.message().contains("o=q/o"), "{error}");
    }
}
