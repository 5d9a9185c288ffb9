CREATE TABLE keys (a int, b int, c text, r int4range, CONSTRAINT keys_pk PRIMARY KEY (a) INCLUDE (c) WITH (fillfactor = 80),
    CONSTRAINT keys_bc UNIQUE (b, c) DEFERRABLE, CONSTRAINT keys_cb UNIQUE (c, b) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT no_overlap EXCLUDE USING gist (r WITH &&) WITH (fillfactor = 60) WHERE (a > 5) DEFERRABLE,
    CONSTRAINT expression EXCLUDE ((lower(c)) WITH =, b WITH =));
COMMENT ON CONSTRAINT keys_pk ON keys IS 'key';
COMMENT ON INDEX keys_pk IS 'index of key';
COMMENT ON CONSTRAINT no_overlap ON keys IS 'apart';
INSERT INTO keys VALUES (1, 2, 'x', '[1,5)'), (6, 3, 'y', '[5,9)');
CREATE TABLE using_index (a int NOT NULL, b int);
CREATE UNIQUE INDEX odd_index_name ON using_index (a);
ALTER TABLE using_index ADD CONSTRAINT odd_index_name PRIMARY KEY USING INDEX odd_index_name;
CREATE TABLE "K ""x""" ("a ""b""" int PRIMARY KEY);
-- next
-- from: 15
ALTER TABLE keys ADD CONSTRAINT keys_nulls UNIQUE NULLS NOT DISTINCT (b);
