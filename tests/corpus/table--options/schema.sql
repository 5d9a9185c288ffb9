CREATE TABLE options (a int, b text) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false,
    toast.autovacuum_vacuum_threshold = 99, parallel_workers = 2);
CREATE TABLE identity_full (a int);
ALTER TABLE identity_full REPLICA IDENTITY FULL;
CREATE TABLE identity_nothing (a int);
ALTER TABLE identity_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE identity_index (a int NOT NULL, b int);
CREATE UNIQUE INDEX identity_index_a ON identity_index (a);
ALTER TABLE identity_index REPLICA IDENTITY USING INDEX identity_index_a;
CREATE TABLE identity_key (a int CONSTRAINT identity_key_unique UNIQUE NOT NULL);
ALTER TABLE identity_key REPLICA IDENTITY USING INDEX identity_key_unique;
CREATE TABLE clustered (a int PRIMARY KEY, b int);
CREATE INDEX clustered_b ON clustered (b);
CLUSTER clustered USING clustered_b;
CREATE TABLE clustered_key (a int PRIMARY KEY);
ALTER TABLE clustered_key CLUSTER ON clustered_key_pkey;
