-- entry: altered_privileges FUNCTION "public"."citext_ne"(public.citext, public.citext)
CREATE EXTENSION citext;
ALTER FUNCTION citext_eq(citext, citext) OWNER TO corpus_owner;
GRANT EXECUTE ON FUNCTION citext_eq(citext, citext) TO corpus_reader;
ALTER FUNCTION citext_ne(citext, citext) OWNER TO corpus_writer;
ALTER FUNCTION pg_catalog.pg_stat_reset() OWNER TO corpus_owner;
REVOKE ALL ON FUNCTION pg_catalog.pg_stat_reset() FROM corpus_owner;
ALTER FUNCTION pg_catalog.pg_reload_conf() OWNER TO corpus_writer;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO corpus_reader WITH GRANT OPTION;
ALTER LANGUAGE plpgsql OWNER TO corpus_owner;
