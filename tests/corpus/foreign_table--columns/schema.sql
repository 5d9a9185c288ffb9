CREATE FOREIGN DATA WRAPPER dummy;
CREATE SERVER s1 FOREIGN DATA WRAPPER dummy;
CREATE SERVER "Odd ""srv" FOREIGN DATA WRAPPER dummy;
CREATE SCHEMA "Odd ""schema";
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE COLLATION mine FROM "C";
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FOREIGN TABLE plain (a int) SERVER s1;
CREATE FOREIGN TABLE empty () SERVER s1;
CREATE FOREIGN TABLE "Odd ""schema"."Odd 'table" (
    id bigint OPTIONS (column_name 'it''s', "Odd ""opt" 'a\b') NOT NULL,
    "Odd ""column" text OPTIONS (x '') COLLATE mine,
    dropped int,
    n positive DEFAULT twice(4) CONSTRAINT small CHECK (n < 100),
    feeling mood DEFAULT 'good',
    doubled int GENERATED ALWAYS AS (id::int * 2) STORED,
    tags text[] OPTIONS (kind 'array'),
    serial_like serial,
    CONSTRAINT pair CHECK (id > n) NO INHERIT
) SERVER "Odd ""srv" OPTIONS (schema_name 'remote', table_name 't''s', "Odd ""opt" 'b');
ALTER FOREIGN TABLE "Odd ""schema"."Odd 'table" DROP COLUMN dropped;
ALTER FOREIGN TABLE "Odd ""schema"."Odd 'table" ALTER COLUMN tags SET STATISTICS 7, ALTER COLUMN tags SET STORAGE EXTERNAL,
    ALTER COLUMN n SET (n_distinct = -0.5);
ALTER FOREIGN TABLE "Odd ""schema"."Odd 'table" ADD CONSTRAINT later CHECK (id <> 5) NOT VALID;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OF n ON "Odd ""schema"."Odd 'table" FOR EACH ROW WHEN (NEW.n > 1) EXECUTE FUNCTION note();
CREATE TRIGGER after_statement AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TRIGGER silent AFTER DELETE ON plain FOR EACH ROW EXECUTE FUNCTION note();
ALTER FOREIGN TABLE plain DISABLE TRIGGER silent;
CREATE STATISTICS together (dependencies) ON id, n FROM "Odd ""schema"."Odd 'table";
CREATE VIEW reads_it AS SELECT id, n FROM "Odd ""schema"."Odd 'table";
CREATE MATERIALIZED VIEW keeps_it AS SELECT a FROM plain WITH NO DATA;
CREATE TYPE holds_row AS (r plain, s "Odd ""schema"."Odd 'table"[]);
CREATE FUNCTION takes_row(plain) RETURNS int LANGUAGE sql AS 'SELECT $1.a';
COMMENT ON FOREIGN TABLE plain IS 'far away';
COMMENT ON COLUMN "Odd ""schema"."Odd 'table"."Odd ""column" IS 'col';
COMMENT ON CONSTRAINT small ON "Odd ""schema"."Odd 'table" IS 'check';
COMMENT ON TRIGGER silent ON plain IS 'trigger';
GRANT SELECT, INSERT ON plain TO corpus_reader WITH GRANT OPTION;
GRANT UPDATE (n), REFERENCES (id) ON "Odd ""schema"."Odd 'table" TO "Corpus ""odd"" role";
GRANT USAGE ON FOREIGN SERVER s1 TO corpus_owner;
ALTER FOREIGN TABLE plain OWNER TO corpus_owner;
