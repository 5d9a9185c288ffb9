CREATE FUNCTION is_even(i int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT i % 2 = 0';
CREATE TABLE evens (a int CONSTRAINT even CHECK (is_even(a)), b int CONSTRAINT "Odd ""name""" CHECK (b IN (1, 2, 3)),
    CONSTRAINT any_of CHECK (a IS NOT NULL OR b IS NOT NULL));
COMMENT ON CONSTRAINT even ON evens IS 'only even';
INSERT INTO evens VALUES (2, 1);
CREATE FUNCTION row_ok(e evens) RETURNS boolean LANGUAGE sql AS 'SELECT e.a > 0';
ALTER TABLE evens ADD CONSTRAINT whole_row CHECK (row_ok(evens));
CREATE FUNCTION next_a() RETURNS int LANGUAGE sql AS 'SELECT max(a) + 2 FROM public.evens';
ALTER TABLE evens ALTER a SET DEFAULT next_a();
INSERT INTO evens VALUES (4, 3);
ALTER TABLE evens ADD CONSTRAINT violated CHECK (a > 3) NOT VALID;
COMMENT ON CONSTRAINT violated ON evens IS 'some day';
