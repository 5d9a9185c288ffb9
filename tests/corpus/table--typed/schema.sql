CREATE TYPE person AS (name text, born date, note text COLLATE "C");
CREATE TABLE people OF person;
CREATE TABLE strict_people OF person (name WITH OPTIONS NOT NULL DEFAULT 'nobody', PRIMARY KEY (name), CHECK (born > '1900-01-01'));
INSERT INTO people VALUES ('a', '2000-01-01', 'n');
INSERT INTO strict_people VALUES ('a', '2000-01-01', 'n');
CREATE FUNCTION greet(p people) RETURNS text LANGUAGE sql AS $$ SELECT 'hello ' || p.name $$;
CREATE TABLE holds_rows (p people, ps people[]);
INSERT INTO holds_rows SELECT p, ARRAY[p] FROM people p;
