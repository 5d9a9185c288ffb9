DROP SCHEMA public;
-- next
CREATE SCHEMA public;
COMMENT ON SCHEMA public IS 'made again';
