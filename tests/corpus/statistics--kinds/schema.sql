CREATE SCHEMA other;
CREATE TABLE t (a int, b int, c text);
CREATE STATISTICS s_all ON a, b FROM t;
CREATE STATISTICS other.s_some (ndistinct, mcv) ON a, b, c FROM t;
ALTER STATISTICS s_all SET STATISTICS 500;
ALTER STATISTICS s_all OWNER TO corpus_owner;
COMMENT ON STATISTICS s_all IS 'together';
-- next
-- from: 14
CREATE STATISTICS s_expr ON (a + b) FROM t;
CREATE STATISTICS other.s_mixed (dependencies, mcv) ON a, b, lower(c) FROM t;
ALTER STATISTICS s_expr OWNER TO corpus_owner;
