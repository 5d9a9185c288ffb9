CREATE TABLE base (id int PRIMARY KEY, name text, amount numeric DEFAULT 3, at timestamptz);
CREATE VIEW "Zz first" AS SELECT id, name AS "na ""me" FROM base WHERE amount > 1.5;
CREATE VIEW aa_second (one, two) WITH (security_barrier) AS SELECT * FROM "Zz first" UNION ALL SELECT 0, 'x';
CREATE VIEW grouped AS SELECT b.id, b.name, count(*) FROM base b JOIN base c USING (id) GROUP BY b.id;
CREATE VIEW on_grouped AS SELECT * FROM grouped;
CREATE VIEW updatable AS SELECT id, name FROM base WHERE id > 0 WITH CASCADED CHECK OPTION;
CREATE VIEW updatable_local AS SELECT id, name FROM base WHERE id > 0 WITH LOCAL CHECK OPTION;
CREATE VIEW no_barrier WITH (security_barrier = false) AS SELECT * FROM base;
ALTER VIEW updatable ALTER name SET DEFAULT 'from view';
CREATE RECURSIVE VIEW counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 5;
CREATE VIEW types AS SELECT 1 AS i, 'x'::text COLLATE "C" AS c, ARRAY[1.5]::numeric(10,2)[] AS a, NULL::varchar(5) AS v;
CREATE VIEW no_columns AS SELECT FROM base;
CREATE FUNCTION of_view(v "Zz first") RETURNS text LANGUAGE sql AS 'SELECT v."na ""me"';
CREATE VIEW uses_function AS SELECT of_view(z) FROM "Zz first" z;
COMMENT ON VIEW grouped IS 'by key';
COMMENT ON RULE "_RETURN" ON grouped IS 'the query of a view';
COMMENT ON RULE "_RETURN" ON updatable IS 'of another';
COMMENT ON COLUMN grouped.name IS 'name';
INSERT INTO base VALUES (1, 'a', 2, '2024-01-01Z');
-- next
-- from: 14
CREATE FUNCTION atomic(i int) RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM grouped g WHERE g.id = i; END;
CREATE VIEW uses_atomic AS SELECT atomic(1);
-- next
-- from: 15
CREATE VIEW invoker WITH (security_invoker = true, security_barrier = false) AS SELECT * FROM base;
