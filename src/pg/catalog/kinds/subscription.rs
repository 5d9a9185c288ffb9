//! Subscriptions of the database (`pg_subscription` holds those of all). They are made without a word to the publisher: disabled, with the name
//! of their slot and without making one. Which tables had been copied, and how far changes had come, belongs to the replication that ended with
//! the source.
//!
//! The connection string, which may hold a password, is for superusers only: a backup by somebody else has an empty one.

use tokio_postgres::Row;

use crate::base::sql::{Sql, ident, literal};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Subscriptions.
pub(super) const KIND: Kind = Kind { name: "subscription", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let since = |feature: Feature, column: &'static str| if cx.version.has(feature) { column } else { "NULL" };
    let streaming = match cx.version {
        v if v.has(Feature::ParallelStreaming) => "s.substream::text",
        v if v.has(Feature::SubscriptionStreaming) => "CASE WHEN s.substream THEN 't' ELSE 'f' END",
        _ => "NULL",
    };
    Some(format!(
        "SELECT s.oid, s.subname::text AS name, {} AS connection, s.subslotname::text AS slot, s.subpublications AS publications,
                s.subsynccommit AS synchronous_commit, {}::bool AS binary_format, {streaming} AS streaming, {} AS two_phase,
                {}::bool AS disable_on_error, {}::bool AS password_required, {}::bool AS run_as_owner, {} AS origin,
                {}::bool AS failover, {}
           FROM pg_subscription s
          WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) ORDER BY s.subname",
        if cx.reads_connections { "s.subconninfo" } else { "''" },
        since(Feature::SubscriptionStreaming, "s.subbinary"),
        since(Feature::SubscriptionTwoPhase, "s.subtwophasestate::text"),
        since(Feature::SubscriptionTwoPhase, "s.subdisableonerr"),
        since(Feature::SubscriptionOrigin, "s.subpasswordrequired"),
        since(Feature::SubscriptionOrigin, "s.subrunasowner"),
        since(Feature::SubscriptionOrigin, "s.suborigin"),
        since(Feature::SubscriptionFailover, "s.subfailover"),
        columns(&MetaSource::owned(class::PG_SUBSCRIPTION, "s.oid", "s.subowner")),
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let name = row.text("name")?;
    let noun = format!("SUBSCRIPTION {}", ident(&name));
    let publications: Vec<String> = row.col::<Vec<String>>("publications")?.iter().map(|p| ident(p)).collect();
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, None, &name, &ident(&name));
    entry.create.push(Sql::from(format!(
        "CREATE {noun} CONNECTION {} PUBLICATION {} WITH ({})",
        literal(&row.text("connection")?).trim_start(),
        publications.join(", "),
        options(row, &name)?.join(", ")
    )));
    entry.drop = Some(Sql::from(drop_statement(&name)));
    apply_meta(&mut entry, row, noun, None)?;
    Ok(Draft::new(Address::new(class::PG_SUBSCRIPTION, row.oid("oid")?), entry))
}

/// Options, those that the server's version has, where they are not what a new subscription gets in every version.
fn options(row: &Row, name: &str) -> Result<Vec<String>> {
    let unknown = |option: &str, value: &str| {
        Error::unsupported(format!("subscription {name} has the {option} {value:?}, which this version does not know"))
    };
    let slot = row.opt_text("slot")?.map_or_else(|| "NONE".to_owned(), |slot| literal(&slot));
    let mut options = vec!["connect = false".to_owned(), format!("slot_name = {slot}")];
    match row.opt_text("streaming")?.as_deref() {
        None => {}
        Some("f") => options.push("streaming = off".to_owned()),
        Some("t") => options.push("streaming = on".to_owned()),
        Some("p") => options.push("streaming = parallel".to_owned()),
        Some(other) => return Err(unknown("streaming mode", other)),
    }
    match row.opt_text("two_phase")?.as_deref() {
        None | Some("d") => {}
        Some("p" | "e") => options.push("two_phase = on".to_owned()),
        Some(other) => return Err(unknown("two-phase state", other)),
    }
    for (column, usual, text) in [
        ("binary_format", false, "binary = true"),
        ("disable_on_error", false, "disable_on_error = true"),
        ("password_required", true, "password_required = false"),
        ("run_as_owner", false, "run_as_owner = true"),
        ("failover", false, "failover = true"),
    ] {
        if row.col::<Option<bool>>(column)?.unwrap_or(usual) != usual {
            options.push(text.to_owned());
        }
    }
    if let Some(origin) = row.opt_text("origin")?.filter(|o| o != "any") {
        options.push(format!("origin = {}", literal(&origin)));
    }
    let commit = row.text("synchronous_commit")?;
    if commit != "off" {
        options.push(format!("synchronous_commit = {}", literal(&commit)));
    }
    Ok(options)
}

/// Removes the subscription and leaves its slot alone: the publisher is not asked, and the restored subscription can go on with the slot.
pub(in crate::pg) fn drop_statement(name: &str) -> String {
    let subscription = ident(name);
    let body = format!(
        "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
         WHERE s.subname = {} AND d.datname = pg_catalog.current_database()) THEN \
         ALTER SUBSCRIPTION {subscription} DISABLE; ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE); \
         DROP SUBSCRIPTION {subscription}; END IF; END",
        literal(name).trim_start()
    );
    format!("DO {}", literal(&body).trim_start())
}
