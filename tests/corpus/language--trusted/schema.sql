CREATE SCHEMA l;
CREATE FUNCTION l.handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE TRUSTED LANGUAGE pltest HANDLER l.handler INLINE pg_catalog.plpgsql_inline_handler VALIDATOR pg_catalog.plpgsql_validator;
CREATE LANGUAGE "Odd lang" HANDLER l.handler;
COMMENT ON LANGUAGE pltest IS 'test';
ALTER LANGUAGE pltest OWNER TO corpus_owner;
REVOKE USAGE ON LANGUAGE pltest FROM PUBLIC;
GRANT USAGE ON LANGUAGE pltest TO corpus_reader;
CREATE FUNCTION l.f() RETURNS int LANGUAGE pltest AS 'BEGIN RETURN 1; END';
