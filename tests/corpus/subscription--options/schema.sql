CREATE SUBSCRIPTION plain CONNECTION 'host=nowhere.invalid dbname=x password=hidden' PUBLICATION p WITH (connect = false);
CREATE SUBSCRIPTION "Odd ""sub'" CONNECTION 'dbname=''it\''s'' password=''p w''' PUBLICATION "Odd ""pub", q, "a,b" WITH (connect = false, slot_name = 'other_slot', synchronous_commit = 'remote_apply');
CREATE SUBSCRIPTION without_slot CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE);
COMMENT ON SUBSCRIPTION plain IS 'it''s a subscription';
-- next
-- from: 14
CREATE SUBSCRIPTION of_14 CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, binary = true, streaming = on);
CREATE SUBSCRIPTION of_14_off CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, streaming = off, synchronous_commit = 'local');
-- next
-- from: 15
CREATE SUBSCRIPTION of_15 CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, two_phase = true, disable_on_error = true);
-- next
-- from: 16
CREATE SUBSCRIPTION of_16 CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, streaming = parallel, origin = none, run_as_owner = true, password_required = false);
CREATE SUBSCRIPTION of_16_usual CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, streaming = on, origin = any);
ALTER SUBSCRIPTION of_16_usual OWNER TO corpus_owner;
-- next
-- from: 17
CREATE SUBSCRIPTION of_17 CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, failover = true);
