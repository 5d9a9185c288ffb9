CREATE TABLE target (a int PRIMARY KEY, b int, c int, UNIQUE (b, c));
CREATE TABLE source (x int REFERENCES target, y int, z int,
    CONSTRAINT pair FOREIGN KEY (y, z) REFERENCES target (b, c) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL,
    CONSTRAINT late FOREIGN KEY (x) REFERENCES target (a) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE loop_a (id int PRIMARY KEY, b int);
CREATE TABLE loop_b (id int PRIMARY KEY, a int REFERENCES loop_a);
ALTER TABLE loop_a ADD FOREIGN KEY (b) REFERENCES loop_b;
CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self);
COMMENT ON CONSTRAINT pair ON source IS 'both of them';
INSERT INTO target VALUES (1, 2, 3);
INSERT INTO source VALUES (1, 2, 3), (NULL, NULL, NULL);
INSERT INTO self VALUES (2, NULL), (1, 2);
CREATE TABLE unchecked (x int);
INSERT INTO unchecked VALUES (99);
ALTER TABLE unchecked ADD CONSTRAINT some_day FOREIGN KEY (x) REFERENCES target NOT VALID;
CREATE TABLE tree (id int, k int, ref int REFERENCES target, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES IN (1);
CREATE TABLE tree_2 (ref int, k int NOT NULL, id int NOT NULL, extra_ref int);
ALTER TABLE tree_2 DROP COLUMN extra_ref;
ALTER TABLE tree_2 ADD CONSTRAINT own_key FOREIGN KEY (ref) REFERENCES target;
ALTER TABLE tree ATTACH PARTITION tree_2 FOR VALUES IN (2);
CREATE TABLE to_tree (id int, k int, FOREIGN KEY (id, k) REFERENCES tree);
CREATE TABLE tree_to_tree (id int, k int, n int, FOREIGN KEY (id, k) REFERENCES tree) PARTITION BY LIST (n);
CREATE TABLE tree_to_tree_1 PARTITION OF tree_to_tree FOR VALUES IN (1);
INSERT INTO tree VALUES (1, 1, 1), (1, 2, NULL);
INSERT INTO to_tree VALUES (1, 1), (1, 2);
INSERT INTO tree_to_tree VALUES (1, 2, 1);
-- next
-- from: 15
CREATE TABLE some_columns (a int, b int, FOREIGN KEY (a, b) REFERENCES target (b, c) ON DELETE SET NULL (b));
