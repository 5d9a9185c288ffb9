-- from: 17
CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
CREATE TABLE same (c int) INHERITS (generated);
CREATE TABLE differs (b int GENERATED ALWAYS AS (a + 2) STORED, c int) INHERITS (generated);
CREATE TABLE changed (c int) INHERITS (generated);
ALTER TABLE changed ALTER b SET EXPRESSION AS (a + 3);
CREATE TABLE joined (a int, b int GENERATED ALWAYS AS (a + 4) STORED);
ALTER TABLE joined INHERIT generated;
INSERT INTO generated VALUES (1);
INSERT INTO same VALUES (1);
INSERT INTO differs VALUES (1);
INSERT INTO changed VALUES (1);
