-- from: 18
CREATE TABLE g (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2) STORED);
CREATE PUBLICATION gen FOR TABLE g WITH (publish_generated_columns = stored);
