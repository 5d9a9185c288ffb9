CREATE SCHEMA r;
CREATE FUNCTION r.time_subtype_diff(x time, y time) RETURNS float8 LANGUAGE sql STRICT IMMUTABLE AS 'SELECT EXTRACT(EPOCH FROM (x - y))';
CREATE TYPE r.timerange AS RANGE (subtype = time, subtype_diff = r.time_subtype_diff);
CREATE TYPE r.textrange AS RANGE (subtype = text, collation = "C", subtype_opclass = text_pattern_ops);
CREATE TYPE r.plain AS RANGE (subtype = text);
ALTER TYPE r.timerange OWNER TO corpus_owner;
COMMENT ON TYPE r.timerange IS 'hours';
GRANT USAGE ON TYPE r.plain TO corpus_reader;
REVOKE USAGE ON TYPE r.plain FROM PUBLIC;
-- next
-- from: 14
CREATE TYPE r.daytime AS RANGE (subtype = time, multirange_type_name = r."Time multi");
COMMENT ON TYPE r."Time multi" IS 'many hours';
CREATE DOMAIN r.opening AS r."Time multi";
