-- from: 17
CREATE DOMAIN named AS int CONSTRAINT must_be_there NOT NULL;
COMMENT ON CONSTRAINT must_be_there ON DOMAIN named IS 'really';
