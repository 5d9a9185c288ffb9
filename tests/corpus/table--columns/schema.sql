CREATE SCHEMA "Od""d Schema";
CREATE TYPE "Od""d Schema".mood AS ENUM ('sad', 'ok');
CREATE DOMAIN "Od""d Schema".positive AS int CHECK (VALUE > 0);
CREATE TABLE "Od""d Schema"."Ta ble" (
    id bigint NOT NULL,
    "select" text COLLATE "C" NOT NULL,
    mood "Od""d Schema".mood DEFAULT 'ok',
    amount numeric(12,2) DEFAULT 0 NOT NULL,
    stamps timestamp(3) with time zone[] DEFAULT ARRAY[now()],
    tags text[] DEFAULT '{}',
    n "Od""d Schema".positive,
    span interval day to second(2),
    bits bit varying(5),
    doc jsonb DEFAULT '{"a": "it''s \\ fine"}',
    total numeric GENERATED ALWAYS AS (amount * 2) STORED,
    gone int,
    "c""q" char(3)
);
ALTER TABLE "Od""d Schema"."Ta ble" DROP COLUMN gone;
ALTER TABLE "Od""d Schema"."Ta ble" ADD COLUMN late int DEFAULT 7;
ALTER TABLE "Od""d Schema"."Ta ble" ALTER "select" SET STORAGE EXTERNAL, ALTER doc SET STORAGE MAIN,
    ALTER amount SET STATISTICS 500, ALTER amount SET (n_distinct = -0.5, n_distinct_inherited = 10), ALTER id SET STATISTICS 0;
COMMENT ON TABLE "Od""d Schema"."Ta ble" IS E'a\\b ''c'' "d"\nnew line';
COMMENT ON COLUMN "Od""d Schema"."Ta ble"."c""q" IS 'quoted';
INSERT INTO "Od""d Schema"."Ta ble" (id, "select", amount, tags, bits, "c""q")
    VALUES (1, E'tab\there\\', 1.50, '{"a,b",NULL,""}', B'101', NULL), (2, '', 0, NULL, NULL, 'x');
CREATE TABLE no_columns ();
CREATE TABLE all_dropped (a int);
ALTER TABLE all_dropped DROP COLUMN a;
CREATE TABLE only_generated (a int GENERATED ALWAYS AS (1) STORED);
CREATE UNLOGGED TABLE unlogged (a int, b int DEFAULT 3);
INSERT INTO unlogged VALUES (1), (2);
-- next
-- from: 14
ALTER TABLE "Od""d Schema"."Ta ble" ALTER doc SET COMPRESSION pglz;
