-- from: 17
CREATE TABLE above (a int, g int GENERATED ALWAYS AS (a + 1) STORED);
CREATE TABLE below (own int) INHERITS (above);
ALTER TABLE above ADD COLUMN late int;
ALTER TABLE above ALTER COLUMN g SET EXPRESSION AS (late + 1);
INSERT INTO below (a, own, late) VALUES (1, 2, 3);
