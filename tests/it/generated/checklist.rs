//! Features that random databases must show, looked for in the catalogs.

use std::collections::BTreeSet;

use crate::support::server::Database;

/// Functions whose parsed bodies call each other.
pub(crate) const CIRCLE_OF_FUNCTIONS: &str = "functions that call each other";

/// Name, first major that has it, and a query that finds rows where it exists.
const FEATURES: &[(&str, u32, &str)] = &[
    ("schema of another owner", 0, "FROM pg_namespace WHERE nspowner <> 10 AND nspname !~ '^pg_' AND nspname <> 'public'"),
    ("enum", 0, "FROM pg_type WHERE typtype = 'e' AND {user}"),
    ("domain with default", 0, "FROM pg_type WHERE typtype = 'd' AND typdefault IS NOT NULL AND {user}"),
    ("domain not null", 0, "FROM pg_type WHERE typtype = 'd' AND typnotnull AND {user}"),
    ("domain over a domain, composite, range or array", 0, "FROM pg_type d JOIN pg_type b ON b.oid = d.typbasetype WHERE d.typtype = 'd' AND (b.typtype <> 'b' OR b.typcategory = 'A') AND d.oid >= 16384"),
    ("domain over a composite", 0, "FROM pg_type d JOIN pg_type b ON b.oid = d.typbasetype WHERE d.typtype = 'd' AND b.typtype = 'c'"),
    ("domain check not valid", 0, "FROM pg_constraint WHERE contypid <> 0 AND contype = 'c' AND NOT convalidated"),
    ("composite type", 0, "FROM pg_class WHERE relkind = 'c' AND {user}"),
    ("composite type with a dropped attribute", 0, "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'c' AND a.attisdropped"),
    ("range", 0, "FROM pg_range WHERE rngtypid >= 16384"),
    ("base type", 0, "FROM pg_type WHERE typtype = 'b' AND typelem = 0 AND {user}"),
    ("operator class used by an index", 0, "FROM pg_index x, unnest(x.indclass) o WHERE o >= 16384"),
    ("collation", 0, "FROM pg_collation WHERE {user}"),
    ("cast", 0, "FROM pg_cast WHERE {user}"),
    ("extension", 0, "FROM pg_extension WHERE {user}"),
    ("privileges of an extension's member", 0, "FROM pg_init_privs p JOIN pg_depend d ON d.classid = p.classoid AND d.objid = p.objoid AND d.deptype = 'e' WHERE d.objid >= 16384
        UNION SELECT FROM pg_type t JOIN pg_depend d ON d.objid = t.oid AND d.deptype = 'e' WHERE t.typacl IS NOT NULL"),
    ("text search configuration", 0, "FROM pg_ts_config WHERE {user}"),
    ("function with parsed body that reads a relation", 14, "FROM pg_depend WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_class'::regclass"),
    (CIRCLE_OF_FUNCTIONS, 14, "FROM pg_depend a JOIN pg_depend b ON b.objid = a.refobjid AND b.refobjid = a.objid
        WHERE a.classid = 'pg_proc'::regclass AND a.refclassid = 'pg_proc'::regclass AND b.classid = 'pg_proc'::regclass AND b.refclassid = 'pg_proc'::regclass"),
    ("function of a row type", 0, "FROM pg_proc p, unnest(p.proargtypes) t JOIN pg_type y ON y.oid = t JOIN pg_class c ON c.oid = y.typrelid WHERE c.relkind <> 'c' AND p.oid >= 16384"),
    ("procedure", 0, "FROM pg_proc WHERE prokind = 'p' AND {user}"),
    ("aggregate", 0, "FROM pg_proc WHERE prokind = 'a' AND {user}"),
    ("table", 0, "FROM pg_class WHERE relkind = 'r' AND {user}"),
    ("unlogged table", 0, "FROM pg_class WHERE relkind = 'r' AND relpersistence = 'u'"),
    ("table with options", 0, "FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL AND {user}"),
    ("table in a tablespace", 0, "FROM pg_class WHERE relkind = 'r' AND reltablespace >= 16384"),
    ("typed table", 0, "FROM pg_class WHERE reloftype <> 0"),
    ("table without columns", 0, "FROM pg_class WHERE relkind = 'r' AND relnatts = 0 AND {user}"),
    ("dropped column", 0, "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attisdropped AND c.relkind = 'r'"),
    ("column of a row type", 0, "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = t.typrelid WHERE c.relkind <> 'c' AND a.attnum > 0 AND c.oid >= 16384"),
    ("column with collation", 0, "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid WHERE a.attcollation NOT IN (0, t.typcollation) AND c.relkind = 'r' AND c.oid >= 16384"),
    ("stored generated column", 0, "FROM pg_attribute WHERE attgenerated = 's'"),
    ("virtual generated column", 18, "FROM pg_attribute WHERE attgenerated = 'v'"),
    ("identity always", 0, "FROM pg_attribute WHERE attidentity = 'a'"),
    ("identity by default", 0, "FROM pg_attribute WHERE attidentity = 'd'"),
    ("identity of a partitioned table", 17, "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE attidentity <> '' AND relkind = 'p'"),
    ("column with statistics target", 0, "FROM pg_attribute WHERE attstattarget > 0 AND attrelid >= 16384"),
    ("column with options", 0, "FROM pg_attribute WHERE attoptions IS NOT NULL"),
    ("column with compression", 14, "FROM pg_attribute WHERE attcompression = 'p'"),
    ("column with storage", 0, "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid WHERE a.attstorage <> t.typstorage AND c.relkind = 'r' AND c.oid >= 16384"),
    ("named not-null", 18, "FROM pg_constraint WHERE contype = 'n' AND conname ~ 'nn' AND {user}"),
    ("not-null no inherit", 18, "FROM pg_constraint WHERE contype = 'n' AND connoinherit"),
    ("not-null not valid", 18, "FROM pg_constraint WHERE contype = 'n' AND NOT convalidated"),
    ("default that calls a function", 0, "FROM pg_depend WHERE classid = 'pg_attrdef'::regclass AND refclassid = 'pg_proc'::regclass"),
    ("default from a sequence", 0, "FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid WHERE d.classid = 'pg_attrdef'::regclass AND c.relkind = 'S'"),
    ("check", 0, "FROM pg_constraint WHERE contype = 'c' AND conrelid >= 16384"),
    ("check not valid", 0, "FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 AND NOT convalidated"),
    ("check no inherit", 0, "FROM pg_constraint WHERE contype = 'c' AND connoinherit AND conrelid >= 16384"),
    ("check not enforced", 18, "FROM pg_constraint WHERE contype = 'c' AND NOT conenforced"),
    ("primary key", 0, "FROM pg_constraint WHERE contype = 'p' AND {user}"),
    ("unique nulls not distinct", 15, "FROM pg_index WHERE indnullsnotdistinct"),
    ("deferrable key", 0, "FROM pg_constraint WHERE contype IN ('p', 'u') AND condeferrable"),
    ("key with included columns", 0, "FROM pg_constraint k JOIN pg_index x ON x.indexrelid = k.conindid WHERE x.indnatts > x.indnkeyatts"),
    ("exclusion", 0, "FROM pg_constraint WHERE contype = 'x'"),
    ("temporal key", 18, "FROM pg_constraint WHERE contype IN ('p', 'u') AND conperiod"),
    ("temporal foreign key", 18, "FROM pg_constraint WHERE contype = 'f' AND conperiod"),
    ("foreign key", 0, "FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"),
    ("foreign key deferrable", 0, "FROM pg_constraint WHERE contype = 'f' AND condeferrable"),
    ("foreign key not valid", 0, "FROM pg_constraint WHERE contype = 'f' AND NOT convalidated"),
    ("foreign key not enforced", 18, "FROM pg_constraint WHERE contype = 'f' AND NOT conenforced"),
    ("foreign key of a partitioned table", 0, "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE contype = 'f' AND relkind = 'p'"),
    ("foreign key to a partitioned table", 0, "FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid WHERE contype = 'f' AND relkind = 'p'"),
    ("foreign keys in a circle", 0, "FROM pg_constraint a JOIN pg_constraint b ON a.confrelid = b.conrelid AND b.confrelid = a.conrelid WHERE a.contype = 'f' AND b.contype = 'f'"),
    ("expression index that calls a user's function", 0, "FROM pg_depend d JOIN pg_index x ON x.indexrelid = d.objid WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384"),
    ("partial index", 0, "FROM pg_index WHERE indpred IS NOT NULL AND indexrelid >= 16384"),
    ("index over a column of a user's type", 0, "FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indexrelid WHERE a.atttypid >= 16384"),
    ("index with statistics target", 0, "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE relkind IN ('i', 'I') AND attstattarget > 0"),
    ("index in a tablespace", 0, "FROM pg_class WHERE relkind = 'i' AND reltablespace >= 16384"),
    ("clustered index", 0, "FROM pg_index WHERE indisclustered AND indexrelid >= 16384"),
    ("replica identity index", 0, "FROM pg_index WHERE indisreplident"),
    ("replica identity full and nothing", 0, "FROM pg_class WHERE relreplident IN ('f', 'n') AND {user}"),
    ("sub-partition", 0, "FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relkind = 'p'"),
    ("default partition", 0, "FROM pg_partitioned_table WHERE partdefid <> 0"),
    ("partition with other columns", 0, "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relispartition AND a.attisdropped"),
    ("invalid index of a partitioned table", 0, "FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE relkind = 'I' AND NOT indisvalid"),
    ("attached index", 0, "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE relkind = 'i'"),
    ("trigger that differs in a partition", 0, "FROM pg_trigger t JOIN pg_trigger p ON p.oid = t.tgparentid WHERE t.tgenabled <> p.tgenabled"),
    ("child with a merged column", 0, "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE attinhcount > 1 AND NOT relispartition"),
    ("child that redefines a column", 0, "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE attinhcount > 0 AND attislocal AND NOT relispartition"),
    ("child of several parents", 0, "FROM pg_inherits WHERE inhseqno > 1"),
    ("child whose inherited column came late", 0, "FROM pg_attribute a JOIN pg_attribute b ON b.attrelid = a.attrelid AND b.attnum > a.attnum JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attnum > 0 AND NOT a.attisdropped AND NOT b.attisdropped AND a.attinhcount = 0 AND b.attinhcount > 0 AND NOT b.attislocal AND c.relkind = 'r'"),
    ("view grouped by a primary key", 0, "FROM pg_depend d JOIN pg_constraint k ON k.oid = d.refobjid WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_constraint'::regclass AND k.contype = 'p'"),
    ("view with options", 0, "FROM pg_class WHERE relkind = 'v' AND reloptions IS NOT NULL AND {user}"),
    ("view with a default", 0, "FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid WHERE c.relkind = 'v'"),
    ("views in a circle", 0, "FROM pg_depend a JOIN pg_rewrite x ON x.oid = a.objid JOIN pg_rewrite y ON y.ev_class = a.refobjid JOIN pg_depend b ON b.objid = y.oid AND b.refobjid = x.ev_class
        WHERE a.classid = 'pg_rewrite'::regclass AND b.classid = 'pg_rewrite'::regclass AND x.ev_class <> y.ev_class"),
    ("materialised view on a materialised view", 0, "FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class f ON f.oid = r.ev_class JOIN pg_class t ON t.oid = d.refobjid
        WHERE d.classid = 'pg_rewrite'::regclass AND f.relkind = 'm' AND t.relkind = 'm' AND f.oid <> t.oid"),
    ("materialised view without rows", 0, "FROM pg_class WHERE relkind = 'm' AND NOT relispopulated"),
    ("index of a materialised view", 0, "FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid WHERE c.relkind = 'm'"),
    ("rule of a table", 0, "FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relkind = 'r' AND r.rulename <> '_RETURN' AND c.oid >= 16384"),
    ("rule of a view", 0, "FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relkind = 'v' AND r.rulename <> '_RETURN' AND c.oid >= 16384"),
    ("rule that fires otherwise", 0, "FROM pg_rewrite WHERE ev_enabled <> 'O'"),
    ("trigger disabled", 0, "FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'D'"),
    ("trigger replica or always", 0, "FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('R', 'A')"),
    ("trigger with transition tables", 0, "FROM pg_trigger WHERE tgnewtable IS NOT NULL"),
    ("constraint trigger", 0, "FROM pg_trigger WHERE NOT tgisinternal AND tgdeferrable"),
    ("trigger of a view", 0, "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relkind = 'v'"),
    ("policy", 0, "FROM pg_policy"),
    ("restrictive policy", 0, "FROM pg_policy WHERE NOT polpermissive"),
    ("row security forced", 0, "FROM pg_class WHERE relforcerowsecurity"),
    ("row security", 0, "FROM pg_class WHERE relrowsecurity"),
    ("sequence that was used", 0, "FROM pg_sequences WHERE last_value IS NOT NULL"),
    ("owned sequence", 0, "FROM pg_depend d JOIN pg_class c ON c.oid = d.objid WHERE c.relkind = 'S' AND d.deptype = 'a'"),
    ("unlogged sequence", 15, "FROM pg_class WHERE relkind = 'S' AND relpersistence = 'u'"),
    ("extended statistics", 0, "FROM pg_statistic_ext"),
    ("statistics on expressions", 14, "FROM pg_statistic_ext WHERE stxexprs IS NOT NULL"),
    ("publication of a table", 0, "FROM pg_publication_rel"),
    ("publication with column list or filter", 15, "FROM pg_publication_rel WHERE prattrs IS NOT NULL OR prqual IS NOT NULL"),
    ("publication of a schema", 15, "FROM pg_publication_namespace"),
    ("default privileges in a schema", 0, "FROM pg_default_acl WHERE defaclnamespace <> 0"),
    ("default privileges everywhere", 0, "FROM pg_default_acl WHERE defaclnamespace = 0"),
    ("grant option", 0, "FROM pg_class WHERE relacl::text ~ '\\*' AND {user}"),
    ("privileges granted by another than the owner", 0, "FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantor <> c.relowner AND c.oid >= 16384"),
    ("owner without privileges", 0, "FROM pg_class c WHERE relacl IS NOT NULL AND c.oid >= 16384 AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = c.relowner)"),
    ("privileges of a column", 0, "FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384"),
    ("privileges of a function", 0, "FROM pg_proc WHERE proacl IS NOT NULL AND {user}"),
    ("privileges of a type", 0, "FROM pg_type WHERE typacl IS NOT NULL AND {user}"),
    ("owner of a table", 0, "FROM pg_class WHERE relkind = 'r' AND relowner <> 10 AND {user}"),
    ("large object", 0, "FROM pg_largeobject_metadata WHERE lomacl IS NOT NULL"),
    ("comments on ten kinds of catalogs", 0, "FROM pg_description WHERE objoid >= 16384 HAVING count(DISTINCT classoid) >= 10"),
    ("comment on a column", 0, "FROM pg_description WHERE objsubid > 0 AND objoid >= 16384"),
    ("name of 63 bytes", 0, "FROM pg_class WHERE octet_length(relname) = 63"),
    ("name with a newline", 0, "FROM pg_class WHERE relname ~ '\n'"),
];

fn of(major: u32) -> impl Iterator<Item = (&'static str, &'static str)> {
    FEATURES.iter().filter(move |(_, from, _)| major >= *from).map(|(name, _, query)| (*name, *query))
}

/// Features that a database shows.
pub(crate) async fn features(database: &Database) -> BTreeSet<&'static str> {
    let client = database.connect().await;
    let parts: Vec<String> = of(database.server.major)
        .map(|(_, query)| format!("EXISTS (SELECT {})", query.replace("{user}", "oid >= 16384")))
        .collect();
    let row = client
        .query_one(&format!("SELECT ARRAY[{}]", parts.join(",\n")), &[])
        .await
        .unwrap_or_else(|e| panic!("checklist: {e:?}"));
    let found: Vec<bool> = row.get(0);
    of(database.server.major).zip(found).filter(|(_, found)| *found).map(|((name, _), _)| name).collect()
}

/// One sentence for each feature of that major that is not among those `made`.
pub(crate) fn missing(major: u32, made: &BTreeSet<&'static str>) -> Vec<String> {
    let names = of(major).map(|(name, _)| name).filter(|name| !made.contains(name));
    names.map(|name| format!("no random database of PostgreSQL {major} has: {name}")).collect()
}
