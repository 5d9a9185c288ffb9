-- from: 18
CREATE TABLE above (a int CONSTRAINT a_given NOT NULL);
CREATE TABLE below (own int) INHERITS (above);
ALTER TABLE above ADD COLUMN b int CONSTRAINT b_given NOT NULL DEFAULT 1, ADD COLUMN c int, ADD COLUMN d int GENERATED ALWAYS AS (a + 1);
ALTER TABLE below ADD CONSTRAINT c_given NOT NULL c, ADD CONSTRAINT own_given NOT NULL own NO INHERIT;
COMMENT ON CONSTRAINT b_given ON below IS 'as above';
COMMENT ON CONSTRAINT c_given ON below IS 'here alone';
INSERT INTO below (a, own, b, c) VALUES (1, 2, 3, 4);
CREATE TABLE unsure (x int);
CREATE TABLE below_unsure (own int) INHERITS (unsure);
ALTER TABLE unsure ADD COLUMN y int;
INSERT INTO unsure VALUES (NULL, NULL);
ALTER TABLE unsure ADD CONSTRAINT y_maybe NOT NULL y NOT VALID;
ALTER TABLE below_unsure VALIDATE CONSTRAINT y_maybe;
