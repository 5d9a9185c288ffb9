CREATE FOREIGN DATA WRAPPER dummy;
CREATE SERVER s1 FOREIGN DATA WRAPPER dummy;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
-- Ordinary parent, foreign children: with inherited columns, with columns of their own, with both.
CREATE TABLE parent (id int NOT NULL, v text DEFAULT 'p' COLLATE "C", CONSTRAINT positive CHECK (id > 0));
INSERT INTO parent VALUES (1, 'here');
CREATE FOREIGN TABLE heir (extra int OPTIONS (k 'v')) INHERITS (parent) SERVER s1 OPTIONS (t 'heir');
ALTER FOREIGN TABLE heir ALTER COLUMN v OPTIONS (column_name 'w'), ALTER COLUMN v SET DEFAULT 'h';
CREATE FOREIGN TABLE joined (v text COLLATE "C", id int NOT NULL, CONSTRAINT positive CHECK (id > 0)) SERVER s1;
ALTER FOREIGN TABLE joined INHERIT parent;
CREATE TABLE second (b int);
CREATE FOREIGN TABLE both_of (b int) INHERITS (parent, second) SERVER s1;
ALTER FOREIGN TABLE both_of ALTER COLUMN b SET NOT NULL, ADD CONSTRAINT own CHECK (b < 9);
-- Foreign parent, ordinary child with rows.
CREATE FOREIGN TABLE far (a int, CONSTRAINT few CHECK (a < 10)) SERVER s1;
CREATE TABLE near (b text) INHERITS (far);
INSERT INTO near VALUES (1, 'x'), (2, 'y');
-- Partitions that are foreign tables, beside ordinary ones and below a partitioned one.
CREATE TABLE measured (day date NOT NULL, region text, value numeric DEFAULT 0 CHECK (value >= 0)) PARTITION BY RANGE (day);
CREATE TABLE measured_now PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE FOREIGN TABLE measured_old PARTITION OF measured (value DEFAULT 7, CONSTRAINT known CHECK (region <> ''))
    FOR VALUES FROM ('2020-01-01') TO ('2024-01-01') SERVER s1 OPTIONS (t 'old');
CREATE TABLE measured_2024 PARTITION OF measured FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (region);
CREATE FOREIGN TABLE measured_2024_eu PARTITION OF measured_2024 FOR VALUES IN ('eu') SERVER s1;
CREATE TABLE measured_2024_us PARTITION OF measured_2024 FOR VALUES IN ('us');
CREATE FOREIGN TABLE measured_rest (value numeric CONSTRAINT measured_value_check CHECK (value >= 0), region text, day date NOT NULL) SERVER s1;
ALTER TABLE measured ATTACH PARTITION measured_rest DEFAULT;
CREATE INDEX measured_region ON measured (region);
CREATE TRIGGER stamp BEFORE INSERT ON measured FOR EACH ROW EXECUTE FUNCTION note();
ALTER FOREIGN TABLE measured_old DISABLE TRIGGER stamp;
COMMENT ON INDEX measured_region IS 'valid although partitions are foreign';
COMMENT ON FOREIGN TABLE measured_old IS 'old';
INSERT INTO measured VALUES ('2025-05-05', 'eu', 1), ('2024-05-05', 'us', 2);
-- next
-- from: 14
-- Children that inherit a generated column, over two levels.
CREATE TABLE computed (a int, b int GENERATED ALWAYS AS (a * 2) STORED, c int);
CREATE FOREIGN TABLE computed_far (d int) INHERITS (computed) SERVER s1;
CREATE FOREIGN TABLE computed_leaf () INHERITS (computed_far) SERVER s1;
ALTER FOREIGN TABLE computed_leaf ADD CONSTRAINT leaf_only CHECK (c > 1) NO INHERIT;
CREATE FUNCTION of_partition(measured_old) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1.region';
CREATE VIEW over_partition AS SELECT of_partition(m) FROM measured_old m;
-- next
-- from: 17
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
CREATE TABLE numbered_1 PARTITION OF numbered FOR VALUES IN (1);
CREATE FOREIGN TABLE numbered_2 PARTITION OF numbered FOR VALUES IN (2) SERVER s1;
CREATE INDEX ON numbered (k);
INSERT INTO numbered (k) VALUES (1), (1);
