-- from: 15
CREATE SEQUENCE plain;
CREATE SEQUENCE small AS smallint START 5 INCREMENT 2 MINVALUE 3 MAXVALUE 99 CACHE 10 CYCLE;
CREATE SEQUENCE down AS int INCREMENT -1;
CREATE SEQUENCE down_from MINVALUE -10 MAXVALUE 10 START 0 INCREMENT -3;
CREATE UNLOGGED SEQUENCE volatile;
CREATE SEQUENCE "Se ""q";
SELECT nextval('plain'), nextval('plain'), setval('down_from', -4, false), setval('"Se ""q"', 1234567890123);
SELECT nextval('small');
COMMENT ON SEQUENCE small IS 'small one';
CREATE TABLE serials (id serial, big bigserial, tiny smallserial, custom int DEFAULT nextval('plain'));
INSERT INTO serials DEFAULT VALUES;
CREATE SEQUENCE owned;
CREATE TABLE owner (a int, b int DEFAULT nextval('owned'));
ALTER SEQUENCE owned OWNED BY owner.a;
CREATE SEQUENCE for_domain;
CREATE DOMAIN numbered AS int DEFAULT nextval('for_domain');
CREATE TABLE circular (n numbered, m int);
ALTER SEQUENCE for_domain OWNED BY circular.n;
