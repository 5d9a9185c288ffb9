-- from: 17
CREATE COLLATION built (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE t (a text COLLATE built);
