//! Schemas. `public` exists in every new database: it gets an entry only where it differs from a new one, and one that drops it where the
//! source has none.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::ident;
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, add_comment, add_labels, add_owner, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Schemas.
pub(super) const KIND: Kind = Kind { name: "schema", scope: Scope::Object, query, read };

/// Comment and owner of `public` in a new database (15 and later).
const PUBLIC_COMMENT: &str = "standard public schema";
const PUBLIC_OWNER: &str = "pg_database_owner";

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT n.oid, n.nspname::text AS name, {}
           FROM pg_namespace n WHERE {} AND {} ORDER BY n.nspname",
        columns(&MetaSource::new(class::PG_NAMESPACE, "n.oid", "n.nspowner", "n.nspacl")),
        user_schema("n.nspname"),
        not_member(class::PG_NAMESPACE, "n.oid")
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    let mut has_public = false;
    for row in rows {
        let name = row.text("name")?;
        let address = Address::new(class::PG_NAMESPACE, row.oid("oid")?);
        if name == "public" {
            has_public = true;
            let entry = public(row, cx)?;
            if entry != empty("public") {
                drafts.push(Draft::new(address, entry));
            }
            continue;
        }
        let mut entry = empty(&name);
        let noun = format!("SCHEMA {}", ident(&name));
        entry.create.push(format!("CREATE {noun}").into());
        entry.drop = Some(format!("DROP SCHEMA IF EXISTS {}", ident(&name)).into());
        let acl = AclObject::new(AclType::Schema, noun.as_str(), cx.version);
        apply_meta(&mut entry, row, noun, Some(&acl))?;
        drafts.push(Draft::new(address, entry));
    }
    if !has_public {
        let mut entry = empty("public");
        entry.create.push("DROP SCHEMA IF EXISTS \"public\"".into());
        drafts.push(Draft::new(Address::new(class::PG_NAMESPACE, 0), entry));
    }
    Ok(drafts)
}

fn empty(name: &str) -> Entry {
    Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(name), name, &ident(name))
}

/// What makes the `public` of a new database into the one of the source. `pg_init_privs` is of no use: it keeps the first owner.
fn public(row: &Row, cx: &Context) -> Result<Entry> {
    let mut entry = empty("public");
    let noun = "SCHEMA \"public\"".into();
    let owner = row.text("owner")?;
    let comment = row.opt_text("comment")?.unwrap_or_default();
    if comment != PUBLIC_COMMENT {
        add_comment(&mut entry, &noun, Some(&comment));
    }
    add_labels(&mut entry, &noun, &row.col::<Vec<String>>("labels")?);
    let quoted = ident(&owner);
    let mut base = vec![format!("{quoted}=UC/{quoted}"), format!("=U/{quoted}")];
    let object = AclObject::new(AclType::Schema, noun.clone(), cx.version);
    if !cx.version.has(Feature::ClosedPublicSchema) {
        // What PUBLIC may do in a new database depends on the version of the target.
        base.pop();
        entry.privileges.push("REVOKE ALL ON SCHEMA \"public\" FROM PUBLIC".into());
    }
    entry.privileges.extend(privileges(&object, &owner, row.col::<Option<Vec<String>>>("acl")?.as_deref(), Some(&base))?);
    if owner != PUBLIC_OWNER {
        add_owner(&mut entry, &noun, &owner);
    }
    Ok(entry)
}
