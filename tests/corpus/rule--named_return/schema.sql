CREATE TABLE ledger (id int, note text);
CREATE TABLE journal (id int, note text);
CREATE RULE noted AS ON INSERT TO ledger DO ALSO INSERT INTO journal VALUES (new.id, new.note);
-- Servers that check names keep the old one.
DO $$ BEGIN ALTER RULE noted ON ledger RENAME TO "_RETURN"; EXCEPTION WHEN OTHERS THEN NULL; END $$;
INSERT INTO ledger VALUES (1, 'a');
