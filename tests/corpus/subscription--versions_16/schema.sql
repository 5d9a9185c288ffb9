-- from: 16
CREATE SUBSCRIPTION several CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, streaming = parallel, origin = none, run_as_owner = true, password_required = false);
CREATE SUBSCRIPTION usual CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, streaming = on, origin = any);
ALTER SUBSCRIPTION usual OWNER TO corpus_owner;
