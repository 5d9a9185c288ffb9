CREATE SCHEMA o;
CREATE TYPE o.num AS (v int);
CREATE FUNCTION o.lt(o.num, o.num) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v < $2.v';
CREATE FUNCTION o.gt(o.num, o.num) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v > $2.v';
CREATE FUNCTION o.le(o.num, o.num) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v <= $2.v';
CREATE FUNCTION o.ge(o.num, o.num) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v >= $2.v';
CREATE FUNCTION o.eq(o.num, o.num) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v = $2.v';
CREATE FUNCTION o.eqi(o.num, int) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v = $2';
CREATE FUNCTION o.cmp(o.num, o.num) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v - $2.v';
CREATE FUNCTION o.cmpi(o.num, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.v - $2';
CREATE FUNCTION o.neg(o.num) RETURNS o.num LANGUAGE sql IMMUTABLE STRICT AS 'SELECT ROW(-$1.v)::o.num';
CREATE OPERATOR o.=== (FUNCTION = o.eq, LEFTARG = o.num, RIGHTARG = o.num, COMMUTATOR = OPERATOR(o.===), RESTRICT = eqsel, JOIN = eqjoinsel, MERGES, HASHES);
CREATE OPERATOR o.<<< (FUNCTION = o.lt, LEFTARG = o.num, RIGHTARG = o.num, COMMUTATOR = OPERATOR(o.>>>), NEGATOR = OPERATOR(o.>>=), RESTRICT = scalarltsel);
CREATE OPERATOR o.>>> (FUNCTION = o.gt, LEFTARG = o.num, RIGHTARG = o.num, COMMUTATOR = OPERATOR(o.<<<), NEGATOR = OPERATOR(o.<<=));
CREATE OPERATOR o.<<= (FUNCTION = o.le, LEFTARG = o.num, RIGHTARG = o.num, NEGATOR = OPERATOR(o.>>>));
CREATE OPERATOR o.>>= (FUNCTION = o.ge, LEFTARG = o.num, RIGHTARG = o.num, NEGATOR = OPERATOR(o.<<<));
CREATE OPERATOR o.=== (FUNCTION = o.eqi, LEFTARG = o.num, RIGHTARG = int);
CREATE OPERATOR o.@# (FUNCTION = o.neg, RIGHTARG = o.num);
COMMENT ON OPERATOR o.@# (NONE, o.num) IS 'negative';
ALTER OPERATOR o.=== (o.num, int) OWNER TO corpus_owner;
CREATE OPERATOR FAMILY o.fam USING btree;
CREATE OPERATOR CLASS o.num_ops DEFAULT FOR TYPE o.num USING btree FAMILY o.fam AS
  OPERATOR 1 o.<<<, OPERATOR 2 o.<<=, OPERATOR 3 o.===, OPERATOR 4 o.>>=, OPERATOR 5 o.>>>, FUNCTION 1 o.cmp(o.num, o.num);
ALTER OPERATOR FAMILY o.fam USING btree ADD OPERATOR 3 o.=== (o.num, int), FUNCTION 1 (o.num, int) o.cmpi(o.num, int);
CREATE OPERATOR CLASS o.empty_ops FOR TYPE o.num USING hash AS STORAGE o.num;
CREATE OPERATOR FAMILY o.alone USING gist;
COMMENT ON OPERATOR FAMILY o.alone USING gist IS 'nobody';
COMMENT ON OPERATOR CLASS o.num_ops USING btree IS 'by v';
ALTER OPERATOR CLASS o.num_ops USING btree OWNER TO corpus_owner;
ALTER OPERATOR FAMILY o.alone USING gist OWNER TO corpus_owner;
CREATE TABLE o.t (a o.num, b text);
CREATE INDEX by_num ON o.t (a o.num_ops);
ALTER OPERATOR FAMILY pg_catalog.integer_ops USING hash ADD FUNCTION 1 (oid, oid) hashoid(oid);
-- entry: operator_family_members "pg_catalog"."integer_ops" USING "hash"
CREATE FUNCTION o.hash_num(o.num) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1';
CREATE OPERATOR o.=#= (FUNCTION = o.eqi, LEFTARG = o.num, RIGHTARG = int, HASHES, COMMUTATOR = OPERATOR(o.=##=));
ALTER OPERATOR FAMILY pg_catalog.float_ops USING btree ADD OPERATOR 3 o.=== (o.num, int);
-- entry: operator_family_members "pg_catalog"."float_ops" USING "btree"
CREATE OPERATOR CLASS o.in_servers FOR TYPE o.num USING hash FAMILY pg_catalog.numeric_ops AS FUNCTION 1 o.hash_num(o.num);
