CREATE SCHEMA c;
CREATE COLLATION c.plain (locale = 'C');
CREATE COLLATION c.split (lc_collate = 'C', lc_ctype = 'POSIX');
CREATE COLLATION c."Odd ""one" FROM "C";
ALTER COLLATION c.plain OWNER TO corpus_owner;
COMMENT ON COLLATION c.plain IS 'pl''ain';
CREATE TABLE c.t (a text COLLATE c.plain, b text COLLATE c."Odd ""one");
CREATE DOMAIN c.d AS text COLLATE c.split;
