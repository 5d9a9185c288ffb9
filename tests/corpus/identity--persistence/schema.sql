-- from: 15
CREATE UNLOGGED TABLE unlogged_ids (a int GENERATED ALWAYS AS IDENTITY, b int);
ALTER SEQUENCE unlogged_ids_a_seq SET LOGGED;
CREATE TABLE logged_ids (a int GENERATED ALWAYS AS IDENTITY, b int);
ALTER SEQUENCE logged_ids_a_seq SET UNLOGGED;
INSERT INTO logged_ids (b) VALUES (1);
