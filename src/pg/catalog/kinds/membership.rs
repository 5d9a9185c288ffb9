//! Memberships of roles (`pg_auth_members`) with their options and, from 16, their grantors. Memberships among the server's own roles are left
//! out. Grants by the bootstrap superuser name no grantor: that is who the server records when a superuser grants.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Memberships.
pub(super) const KIND: Kind = Kind { name: "membership", scope: Scope::Cluster, query, read };

const BOOTSTRAP_SUPERUSER: u32 = 10;

fn query(cx: &Context) -> Option<String> {
    let (number, options) = if cx.version.has(Feature::MembershipOptions) {
        ("m.oid", "m.inherit_option, m.set_option")
    } else {
        ("row_number() OVER (ORDER BY r.rolname, u.rolname)::oid", "true AS inherit_option, true AS set_option")
    };
    Some(format!(
        "SELECT {number} AS number, m.roleid, m.member, m.grantor, r.rolname::text AS role_name, u.rolname::text AS member_name,
                g.rolname::text AS grantor_name, m.admin_option, {options}
           FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
           LEFT JOIN pg_roles g ON g.oid = m.grantor
          WHERE NOT (r.rolname ~ '^pg_' AND u.rolname ~ '^pg_')
          ORDER BY r.rolname, u.rolname, g.rolname"
    ))
}

/// One row.
struct Membership {
    number: u32,
    role: u32,
    member: u32,
    grantor: u32,
    admin: bool,
    entry: Entry,
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    let all = rows.iter().map(|row| membership(row, cx)).collect::<Result<Vec<_>>>()?;
    Ok(with_needs(all, cx.version.has(Feature::MembershipOptions)))
}

fn membership(row: &Row, cx: &Context) -> Result<Membership> {
    let (role, member): (String, String) = (row.col("role_name")?, row.col("member_name")?);
    let grantor: Option<String> = row.col("grantor_name")?;
    let by_bootstrap = row.col::<u32>("grantor")? == BOOTSTRAP_SUPERUSER;
    let admin: bool = row.col("admin_option")?;
    let grantor = grantor.filter(|_| cx.version.has(Feature::MembershipOptions) && !by_bootstrap);
    let by = grantor.as_ref().map(|g| format!(" by {}", ident(g))).unwrap_or_default();
    let identity = format!("{} to {}{by}", ident(&role), ident(&member));
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &role, &identity);
    let mut grant = Sql::from("GRANT ").role(&role).text(" TO ").role(&member);
    if cx.version.has(Feature::MembershipOptions) {
        let word = |on: bool| if on { "TRUE" } else { "FALSE" };
        let (inherit, set) = (row.col("inherit_option")?, row.col("set_option")?);
        grant.push(format!(" WITH ADMIN {}, INHERIT {}, SET {}", word(admin), word(inherit), word(set)));
    } else if admin {
        grant.push(" WITH ADMIN OPTION");
    }
    if let Some(grantor) = grantor {
        grant = grant.text(" GRANTED BY ").role(grantor);
    }
    entry.create.push(grant);
    Ok(Membership {
        number: row.col("number")?,
        role: row.col("roleid")?,
        member: row.col("member")?,
        grantor: row.col("grantor")?,
        admin,
        entry,
    })
}

/// Finds for each grant by an ordinary role the earlier grant that gave that role its ADMIN option. Only one is needed, and taking the first
/// one that is made keeps the order free of circles.
fn with_needs(memberships: Vec<Membership>, grantors_count: bool) -> Vec<Draft> {
    let mut source: Vec<Option<usize>> = vec![None; memberships.len()];
    let mut made: Vec<usize> = Vec::new();
    let mut pending: Vec<usize> = (0..memberships.len()).collect();
    while grantors_count && !pending.is_empty() {
        let before = pending.len();
        pending.retain(|&i| {
            let m = &memberships[i];
            let from = made.iter().copied().find(|&j| {
                let admin = &memberships[j];
                admin.admin && admin.role == m.role && admin.member == m.grantor
            });
            source[i] = from;
            let ready = m.grantor == BOOTSTRAP_SUPERUSER || from.is_some();
            if ready {
                made.push(i);
            }
            !ready
        });
        if pending.len() == before {
            break;
        }
    }
    let address = |m: &Membership| Address::new(class::PG_AUTH_MEMBERS, m.number);
    let needs: Vec<Vec<Address>> = memberships
        .iter()
        .zip(&source)
        .map(|(m, from)| {
            let roles = [m.role, m.member, m.grantor].map(|r| Address::new(class::PG_AUTHID, r));
            roles.into_iter().chain(from.map(|j| address(&memberships[j]))).collect()
        })
        .collect();
    memberships.into_iter().zip(needs).map(|(m, needs)| Draft { needs, ..Draft::new(address(&m), m.entry) }).collect()
}
