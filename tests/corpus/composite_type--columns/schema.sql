CREATE TYPE point3 AS (x double precision, y numeric(10, 2), "odd ""col" text COLLATE "C", z integer[]);
COMMENT ON TYPE point3 IS 'three';
COMMENT ON COLUMN point3.x IS 'across';
COMMENT ON COLUMN point3."odd ""col" IS 'o''dd';
ALTER TYPE point3 DROP ATTRIBUTE y;
ALTER TYPE point3 OWNER TO corpus_owner;
CREATE TYPE outer_type AS (a point3, b point3[], c varchar(7));
CREATE TYPE nothing AS ();
REVOKE USAGE ON TYPE nothing FROM PUBLIC, postgres;
