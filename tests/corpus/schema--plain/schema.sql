CREATE SCHEMA app AUTHORIZATION corpus_owner;
COMMENT ON SCHEMA app IS 'it''s the \ application';
GRANT USAGE ON SCHEMA app TO corpus_reader;
GRANT ALL ON SCHEMA app TO corpus_writer WITH GRANT OPTION;
CREATE SCHEMA "odd ""name"" of Schema";
ALTER SCHEMA "odd ""name"" of Schema" OWNER TO "Corpus ""odd"" role";
GRANT USAGE ON SCHEMA "odd ""name"" of Schema" TO PUBLIC;
CREATE SCHEMA nobody;
REVOKE ALL ON SCHEMA nobody FROM postgres;
