CREATE TYPE pair AS (a int, b int);
CREATE TYPE mood AS ENUM ('x');
CREATE FUNCTION pair_to_text(pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.a::text';
CREATE FUNCTION int_to_mood(int) RETURNS mood LANGUAGE sql IMMUTABLE AS 'SELECT ''x''::public.mood';
CREATE CAST (pair AS text) WITH FUNCTION pair_to_text(pair);
CREATE CAST (int AS mood) WITH FUNCTION int_to_mood(int) AS ASSIGNMENT;
CREATE CAST (mood AS int) WITH INOUT AS IMPLICIT;
COMMENT ON CAST (pair AS text) IS 'first';
