CREATE SCHEMA p;
CREATE TABLE p.one (id int PRIMARY KEY, b text, c int);
CREATE TABLE p.two (id int PRIMARY KEY);
CREATE TABLE p.parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION several FOR TABLE p.one, p.two WITH (publish = 'insert, update');
CREATE PUBLICATION "Odd ""pub" FOR TABLE ONLY p.parts WITH (publish_via_partition_root = true, publish = '');
CREATE PUBLICATION nothing;
ALTER PUBLICATION nothing OWNER TO corpus_owner;
COMMENT ON PUBLICATION several IS 'some';
-- next
-- from: 15
CREATE PUBLICATION schemas FOR TABLES IN SCHEMA p, CURRENT_SCHEMA;
CREATE PUBLICATION filtered FOR TABLE p.one (id, c) WHERE (id > 5 AND c IS NOT NULL), p.two;
