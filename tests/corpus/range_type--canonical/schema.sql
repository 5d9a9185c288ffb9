CREATE SCHEMA r;
CREATE TYPE r.whole;
CREATE FUNCTION r.canon(r.whole) RETURNS r.whole LANGUAGE internal IMMUTABLE STRICT AS 'int4range_canonical';
CREATE TYPE r.whole AS RANGE (subtype = int4, canonical = r.canon, subtype_diff = int4range_subdiff, multirange_type_name = r.wholes);
ALTER TYPE r.whole OWNER TO corpus_owner;
COMMENT ON TYPE r.whole IS 'whole';
CREATE TABLE r.t (a r.whole, b r.wholes);
INSERT INTO r.t VALUES ('[1,2]', '{[1,2],[5,7)}');
CREATE FUNCTION r.other(r.whole) RETURNS int LANGUAGE sql AS 'SELECT lower($1)';
