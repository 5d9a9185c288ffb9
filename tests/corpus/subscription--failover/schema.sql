-- from: 17
CREATE SUBSCRIPTION kept CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, failover = true);
