//! Owners, privileges and comments, on objects that the catalogs name.

use super::world::World;

/// Statement word and identity of every object that can have an owner or a comment, as `pg_identify_object` writes it.
const OBJECTS: &str = "
SELECT CASE WHEN i.type LIKE '% column' THEN 'COLUMN' WHEN i.type = 'composite type' THEN 'TYPE' WHEN i.type LIKE '% constraint' THEN 'CONSTRAINT'
         WHEN i.type = 'statistics object' THEN 'STATISTICS' ELSE upper(i.type) END || ' ' || i.identity
  FROM (SELECT DISTINCT classid, objid, 0 AS sub FROM pg_depend WHERE deptype IN ('n', 'a')
        UNION SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
        UNION SELECT 'pg_class'::regclass, oid, 0 FROM pg_class
        UNION SELECT 'pg_publication'::regclass, oid, 0 FROM pg_publication) d,
       LATERAL pg_identify_object(d.classid, d.objid, d.sub) i
 WHERE d.objid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend m WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e')
   AND i.identity !~ '^(pg_|information_schema)' AND i.type !~ 'toast|default|for|mapping|member|operator of|function of'
 ORDER BY 1";

/// Qualified names of relations, functions and the rest, with the word for GRANT. Schemas come first: who grants on an object must be able
/// to use its schema when the copy is made, too.
const GRANTABLE: &str = "
SELECT kind || ' ' || identity FROM (
  SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text FROM pg_class
   WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relnamespace <> 'information_schema'::regnamespace
  UNION ALL SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc WHERE prokind = 'f' AND oid >= 16384
  UNION ALL SELECT 'TYPE', oid::regtype::text FROM pg_type WHERE typtype IN ('e', 'd', 'r') AND oid >= 16384) x (kind, identity)
 WHERE identity !~ '^(pg_|information_schema)'
 ORDER BY kind <> 'SCHEMA', 1";

impl World {
    /// Refreshes what is populated, as a restore will; what its owner cannot read (any more) stays empty.
    pub(crate) async fn refresh(&mut self) {
        let sql = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'm' AND relispopulated ORDER BY oid";
        for view in self.texts(sql).await {
            if !self.run(format!("REFRESH MATERIALIZED VIEW {view}")).await {
                self.run(format!("REFRESH MATERIALIZED VIEW {view} WITH NO DATA")).await;
            }
        }
    }

    pub(crate) async fn own_and_comment(&mut self) {
        for object in self.texts(OBJECTS).await {
            let owned = !["COLUMN", "CONSTRAINT", "INDEX", "TRIGGER", "RULE", "POLICY", "CAST"]
                .iter()
                .any(|word| object.starts_with(word));
            if self.rng.one_in(4) && owned {
                let role = self.role();
                self.run(format!("ALTER {object} OWNER TO {role}")).await;
            }
            if self.rng.one_in(4) {
                let text = self.text();
                self.run(format!("COMMENT ON {object} IS {text}")).await;
            }
        }
    }

    /// Grants in chains: what one role was granted with the option, it grants on.
    pub(crate) async fn grant(&mut self) {
        for object in self.texts(GRANTABLE).await {
            if !self.rng.one_in(4) {
                continue;
            }
            let (one, two) = (self.role(), self.role());
            match self.rng.below(6) {
                0 => self.run(format!("REVOKE ALL ON {object} FROM PUBLIC")).await,
                1 => self.run(format!("GRANT ALL ON {object} TO {one}, PUBLIC")).await,
                2 => self.run(format!("GRANT ALL ON {object} TO {one} WITH GRANT OPTION; SET ROLE {one}; GRANT ALL ON {object} TO {two}; RESET ROLE")).await,
                3 => self.run(format!("GRANT ALL ON {object} TO {one} WITH GRANT OPTION; REVOKE GRANT OPTION FOR ALL ON {object} FROM {one}")).await,
                4 => self.run(format!("REVOKE ALL ON {object} FROM postgres")).await,
                _ if object.starts_with("TABLE") => self.grant_columns(&object, &one).await,
                _ => self.run(format!("GRANT ALL ON {object} TO {two}")).await,
            };
        }
    }

    async fn grant_columns(&mut self, object: &str, role: &str) -> bool {
        let Some(table) = object.strip_prefix("TABLE ") else { return false };
        let sql = "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{t}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let columns = self.texts(&sql.replace("{t}", &table.replace('\'', "''"))).await;
        let Some(column) = self.rng.pick(&columns) else { return false };
        let option = self.rng.maybe(2, " WITH GRANT OPTION").to_owned();
        self.run(format!("GRANT SELECT ({column}), UPDATE ({column}) ON {object} TO {role}{option}")).await
    }
}
