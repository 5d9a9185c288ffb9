CREATE SCHEMA r;
CREATE TYPE r.whole;
CREATE FUNCTION r.canon(r.whole) RETURNS r.whole LANGUAGE internal IMMUTABLE STRICT AS 'int4range_canonical';
CREATE TYPE r.whole AS RANGE (subtype = int4, canonical = r.canon, subtype_diff = int4range_subdiff);
ALTER TYPE r.whole OWNER TO corpus_owner;
COMMENT ON TYPE r.whole IS 'whole';
CREATE TABLE r.t (a r.whole);
INSERT INTO r.t VALUES ('[1,2]');
CREATE FUNCTION r.other(r.whole) RETURNS int LANGUAGE sql AS 'SELECT lower($1)';
-- next
-- from: 14
CREATE TYPE r.other_whole;
CREATE FUNCTION r.canon(r.other_whole) RETURNS r.other_whole LANGUAGE internal IMMUTABLE STRICT AS 'int4range_canonical';
CREATE TYPE r.other_whole AS RANGE (subtype = int4, canonical = r.canon, multirange_type_name = r.wholes);
CREATE TABLE r.u (a r.other_whole, b r.wholes);
INSERT INTO r.u VALUES ('[1,2]', '{[1,2],[5,7)}');
