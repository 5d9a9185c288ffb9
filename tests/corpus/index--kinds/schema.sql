CREATE FUNCTION norm(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
CREATE TABLE indexed (a int, b text, c int[], d tsvector, e point);
CREATE INDEX i_plain ON indexed (a DESC NULLS LAST, b COLLATE "C" text_pattern_ops) INCLUDE (c) WITH (fillfactor = 55, deduplicate_items = off);
CREATE INDEX i_expr ON indexed (norm(b), (a + 1));
CREATE UNIQUE INDEX i_part ON indexed (a) WHERE b IS NOT NULL;
CREATE INDEX i_gin ON indexed USING gin (c, d) WITH (fastupdate = off);
CREATE INDEX i_gist ON indexed USING gist (e);
CREATE INDEX i_brin ON indexed USING brin (a) WITH (pages_per_range = 4);
CREATE INDEX i_hash ON indexed USING hash (b);
CREATE INDEX "I ""odd""" ON indexed (b);
ALTER INDEX i_expr ALTER COLUMN 1 SET STATISTICS 400, ALTER COLUMN 2 SET STATISTICS 0;
COMMENT ON INDEX i_expr IS 'expressions';
CREATE MATERIALIZED VIEW m AS SELECT a, b FROM indexed;
CREATE UNIQUE INDEX m_a ON m (a);
ALTER MATERIALIZED VIEW m CLUSTER ON m_a;
-- next
-- from: 14
CREATE INDEX i_brin_multi ON indexed USING brin (a int4_minmax_multi_ops (values_per_range = 16)) WITH (pages_per_range = 4);
-- next
-- from: 15
CREATE UNIQUE INDEX i_nulls ON indexed (a) NULLS NOT DISTINCT WHERE b IS NOT NULL;
