CREATE TABLE base (id int PRIMARY KEY, name text);
CREATE VIEW grouped AS SELECT id, name, count(*) FROM base GROUP BY id;
CREATE TABLE holds_view_rows (g grouped);
INSERT INTO base VALUES (1, 'x');
INSERT INTO holds_view_rows SELECT g FROM grouped g;
CREATE TABLE "new
line" ("col
umn" int CONSTRAINT "check
er" CHECK ("col
umn" > 0));
CREATE INDEX "ind
ex" ON "new
line" ("col
umn");
COMMENT ON TABLE "new
line" IS '-- not a comment
\restrict';
-- next
-- from: 14
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT count(*) FROM grouped; END;
CREATE TABLE uses_it (a int, b bigint GENERATED ALWAYS AS (a + counts()) STORED);
INSERT INTO uses_it VALUES (1);
