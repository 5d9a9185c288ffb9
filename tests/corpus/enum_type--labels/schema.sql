CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'back\slash', 'happy');
ALTER TYPE mood ADD VALUE 'calm' BEFORE 'happy';
COMMENT ON TYPE mood IS 'how it feels';
ALTER TYPE mood OWNER TO corpus_owner;
REVOKE USAGE ON TYPE mood FROM PUBLIC;
GRANT USAGE ON TYPE mood TO corpus_reader;
CREATE TYPE empty AS ENUM ();
CREATE TYPE "Odd, Type" AS ENUM ('');
