CREATE SCHEMA f;
CREATE FUNCTION f.plain(a integer, b text DEFAULT 'x''y', VARIADIC c numeric[] DEFAULT '{}') RETURNS SETOF record
  LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED COST 17 ROWS 33 LEAKPROOF STRICT
  SET search_path TO f, "odd, schema", pg_catalog SET work_mem TO '7MB' SET "my.setting" TO 'a b'
  AS $fn$ BEGIN RETURN QUERY SELECT $$quoted$$, '$function$'; END $fn$;
CREATE FUNCTION f.plain(a integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION f.outs(IN a integer, OUT b text, INOUT c date) LANGUAGE sql AS 'SELECT ''x'', $2';
CREATE FUNCTION f.tab(n integer) RETURNS TABLE (k integer, "V v" text) LANGUAGE sql AS 'SELECT 1, ''x''';
CREATE FUNCTION f.win() RETURNS bigint LANGUAGE internal WINDOW AS 'window_row_number';
CREATE FUNCTION f.supported(text, text) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT SUPPORT pg_catalog.textlike_support AS 'textlike';
CREATE FUNCTION f."Odd ""name"(x text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f.empty_path() RETURNS integer LANGUAGE sql SET search_path TO '' AS 'SELECT 1';
CREATE FUNCTION f.trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION f.broken() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f.poly(anyelement, anyarray) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f.crlf() RETURNS text LANGUAGE plpgsql AS E'BEGIN\r\n RETURN ''tab\there \\ é ∞'';\r\nEND';
COMMENT ON FUNCTION f.plain(integer, text, numeric[]) IS 'plain''s comment';
ALTER FUNCTION f.plain(integer) OWNER TO corpus_owner;
REVOKE ALL ON FUNCTION f.plain(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION f.plain(integer) TO corpus_reader WITH GRANT OPTION;
SET ROLE corpus_owner;
RESET ROLE;
GRANT EXECUTE ON FUNCTION f."Odd ""name"(text) TO "Corpus ""odd"" role";
REVOKE ALL ON FUNCTION f.empty_path() FROM postgres;
SET check_function_bodies = off;
CREATE FUNCTION f.late() RETURNS integer LANGUAGE sql AS 'SELECT count(*)::int FROM f.no_such_table';
-- next
-- from: 14
CREATE FUNCTION f.body(a integer, b integer = 7) RETURNS integer RETURN a + b;
CREATE FUNCTION f.atomic(a integer) RETURNS integer BEGIN ATOMIC SELECT f.body(a); SELECT a + 1; END;
REVOKE ALL ON FUNCTION f.body(integer, integer) FROM postgres;
