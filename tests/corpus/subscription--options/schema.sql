CREATE TABLE here (id int PRIMARY KEY);
CREATE SUBSCRIPTION plain CONNECTION 'host=nowhere.invalid dbname=x password=hidden' PUBLICATION p WITH (connect = false);
CREATE SUBSCRIPTION "Odd ""sub'" CONNECTION 'dbname=''it\''s'' password=''p w''' PUBLICATION "Odd ""pub", q, "a,b" WITH (connect = false, slot_name = 'other_slot', binary = true, streaming = on, synchronous_commit = 'remote_apply', two_phase = true, disable_on_error = true);
CREATE SUBSCRIPTION without_slot CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE, streaming = off);
COMMENT ON SUBSCRIPTION plain IS 'it''s a subscription';
