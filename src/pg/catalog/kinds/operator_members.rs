//! Members of operator classes and families: operators (`pg_amop`) and support functions (`pg_amproc`), as their owner's query reads them.

use tokio_postgres::Row;

use crate::base::Result;
use crate::pg::catalog::kind::{Address, class};
use crate::pg::catalog::meta::{not_member, user_object};
use crate::pg::catalog::row::RowExt;

/// Select list of the members of the object with oid `oid` in catalog `owner` (`pg_opclass` or `pg_opfamily`): `members`, their clauses,
/// `amop_oids` and `amproc_oids`. Members that initdb made are left out, and those of its families that consist of an extension's
/// operators and functions: members of extensions are not marked as such.
pub(super) fn columns(owner: u32, oid: &str) -> String {
    let of = |class: u32, row: &str, family: &str, made_of: String| {
        let made = user_object(&format!("{row}.oid"));
        let depends = format!("d.classid = {class} AND d.objid = {row}.oid AND d.refclassid = {}", class::PG_OPCLASS);
        if owner == class::PG_OPCLASS {
            return format!("JOIN pg_depend d ON {depends} AND d.refobjid = {oid} AND d.deptype IN ('i', 'a') AND {made}");
        }
        // No dependency is recorded on the server's own families: what belongs to no class belongs to the family alone.
        format!(
            "JOIN pg_opfamily own ON own.oid = {row}.{family} AND own.oid = {oid} AND {made}
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE {depends}) AND ({oid} >= 16384 OR {made_of})"
        )
    };
    let amop = of(class::PG_AMOP, "m", "amopfamily", not_member(class::PG_OPERATOR, "m.amopopr"));
    let amproc = of(class::PG_AMPROC, "m", "amprocfamily", not_member(class::PG_PROC, "m.amproc"));
    let [opn, sfn, sf, fn_, f] = ["opn.nspname", "sfn.nspname", "sf.opfname", "fn.nspname", "f.proname"].map(quoted);
    format!(
        "ARRAY(SELECT format('OPERATOR %s %s.%s (%s, %s)%s', m.amopstrategy, {opn}, op.oprname, format_type(m.amoplefttype, NULL),
                             format_type(m.amoprighttype, NULL),
                             (SELECT format(' FOR ORDER BY %s.%s', {sfn}, {sf}) FROM pg_opfamily sf
                                JOIN pg_namespace sfn ON sfn.oid = sf.opfnamespace WHERE sf.oid = m.amopsortfamily))
                 FROM pg_amop m {amop} JOIN pg_operator op ON op.oid = m.amopopr JOIN pg_namespace opn ON opn.oid = op.oprnamespace
                ORDER BY m.amopstrategy, format_type(m.amoplefttype, NULL), format_type(m.amoprighttype, NULL))
         || ARRAY(SELECT format('FUNCTION %s (%s, %s) %s.%s(%s)', m.amprocnum, format_type(m.amproclefttype, NULL),
                                format_type(m.amprocrighttype, NULL), {fn_}, {f}, oidvectortypes(f.proargtypes))
                    FROM pg_amproc m {amproc} JOIN pg_proc f ON f.oid = m.amproc JOIN pg_namespace fn ON fn.oid = f.pronamespace
                   ORDER BY m.amprocnum, format_type(m.amproclefttype, NULL), format_type(m.amprocrighttype, NULL)) AS members,
         ARRAY(SELECT m.oid FROM pg_amop m {amop}) AS amop_oids, ARRAY(SELECT m.oid FROM pg_amproc m {amproc}) AS amproc_oids"
    )
}

/// Expression of a name in quotes, whether it needs them or not.
fn quoted(name: &str) -> String {
    format!("'\"' || replace({name}::text, '\"', '\"\"') || '\"'")
}

/// The clauses, and the rows behind them.
pub(super) fn read(row: &Row) -> Result<(Vec<String>, Vec<Address>)> {
    let mut rows = Vec::new();
    for (column, class) in [("amop_oids", class::PG_AMOP), ("amproc_oids", class::PG_AMPROC)] {
        rows.extend(row.col::<Vec<u32>>(column)?.into_iter().map(|oid| Address::new(class, oid)));
    }
    Ok((row.col("members")?, rows))
}
