CREATE SCHEMA v;
CREATE TYPE v.odd AS ENUM ('', ' ', 'it''s', E'back\\slash', E'new\nline', '"', '{}', 'NULL', ',', E'\\.', E'\\N', '𝄞');
CREATE TYPE v.pair AS (a int, b text, c v.odd);
CREATE TYPE v.nest AS (p v.pair, ps v.pair[], d date);
CREATE DOMAIN v.short AS text CHECK (length(VALUE) < 50);
CREATE DOMAIN v.list AS int[] CHECK (array_length(VALUE, 1) < 9) NOT NULL DEFAULT '{}';
CREATE DOMAIN v.both AS v.pair CHECK ((VALUE).a > 0);
CREATE TABLE v.texts (id serial PRIMARY KEY, t text, c char(5), vc varchar(9), n name, one "char");
INSERT INTO v.texts (t, c, vc, n, one) VALUES (NULL, NULL, NULL, NULL, NULL), ('', '', '', '', ''), (E'\\.', E'\\.', E'\\.', E'\\.', E'\\'), (E'\n\\.\n', E'\n', E'\r\n', E'\t', E'\n'),
  (E'\\N', E'\\N', E'\\N', E'\\N', 'N'), ('NULL', 'null', '"NULL"', 'NULL', '"'), (E'\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x7f', 'a', 'b', 'c', '\303'),
  (E'a\tb', 'ä€𝄞é', '€', '𝄞', '\377'), (' lead trail ', '  ', '  ', ' ', ' '), (E'\\x00', E'\\000', E'\\\\', E'\\b', '\001'), (U&'\+01F468\200D\+01F469 \FEFF \202E \0301 \FFFD \+10FFFF', 'x', 'y', 'z', 'w');
INSERT INTO v.texts (t) SELECT repeat(E'1\\2\n3\t', 131072 + i) FROM generate_series(1, 3) i;
CREATE TABLE v.numbers (f8 float8, f4 float4, n numeric, n2 numeric(20, 5), i2 int2, i4 int4, i8 int8, m money, o oid);
INSERT INTO v.numbers VALUES ('NaN', 'NaN', 'NaN', 'NaN', -32768, -2147483648, -9223372036854775808, '-92233720368547758.08', 0), ('Infinity', '-Infinity', 'Infinity', 0, 32767, 2147483647, 9223372036854775807, '92233720368547758.07', 4294967295),
  ('-0', '-0', '-Infinity', -0.00001, 0, 0, 0, 0, 1), ('4.9406564584124654e-324', '1e-45', '1e-16383', 1, 1, 1, 1, 1, 1), ('2.2250738585072009e-308', '1.1754942e-38', ('1' || repeat('0', 131071))::numeric, 1, 1, 1, 1, 1, 1),
  ('1.7976931348623157e308', '3.4028235e38', repeat('9', 500)::numeric + 0.000000000000000000010, 1, 1, 1, 1, 1, 1), (0.1::float8 + 0.2, 0.1, 1.50, 1.5, 1, 1, 1, 1, 1);
CREATE TABLE v.times (d date, ts timestamp, tz timestamptz, t time, tt timetz, i interval, ts0 timestamp(0), i3 interval(3), ym interval year to month);
INSERT INTO v.times VALUES ('4714-11-24 BC', '4714-11-24 00:00:00 BC', '4714-11-24 00:00:00+00 BC', '00:00', '00:00+15:59:59', '-178000000 years', '2026-01-01', '1.2345 s', '1 year 2 mons'),
  ('5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '24:00', '24:00-15:59:59', '178000000 years', '2026-01-01 00:00:00.6', '-0.0005 s', '-1 mon'),
  ('infinity', 'infinity', '-infinity', '12:34:56.789012', '12:34:56.789012+05:45', '1 mon -1 day 00:00:00.000001', 'infinity', '0', '0'), ('-infinity', '-infinity', 'infinity', '23:59:59.999999', '01:00-00:00:01', '-1 year -2 mons +3 days -04:05:06.7', NULL, NULL, NULL),
  ('0001-12-31 BC', '0001-01-01', '1883-11-18 12:03:57.5-04:56:02', NULL, NULL, '@ 1 year ago', NULL, NULL, NULL);
CREATE TABLE v.nested (a int[], b text[], c v.pair, d v.nest, e v.pair[], f v.list, g v.both, h v.short[], j v.odd[], k v.both[]);
INSERT INTO v.nested VALUES ('[2:3][-1:0]={{1,2},{3,NULL}}', ARRAY['', NULL, 'NULL', '"', E'\\', '{', '}', ',', ' ', E'\n', '\N'], ROW(NULL, NULL, NULL), ROW(ROW(1, '', 'it''s'), ARRAY[ROW(NULL, NULL, NULL)::v.pair, NULL], NULL), '{}', '{1,2}', ROW(1, '(,")', '"'), ARRAY['a', NULL]::v.short[], enum_range(NULL::v.odd), ARRAY[ROW(1, 'x', '')::v.both]),
  ('{}', '{}'::text[], NULL, NULL, NULL, '[5:6]={1,2}', NULL, '{}', '[0:1]={"",NULL}', NULL), ('[-5:-4]={NULL,NULL}', '[1:1][1:2]={{"a,b","c\"d"}}', ROW(1, E'a"b\\c\nd,(e)', ','), ROW(NULL, NULL, 'infinity'), '[3:3]={"(1,\"x\"\"y\",)"}', '{}', NULL, NULL, NULL, NULL);
CREATE TABLE v.others (b bit(3), vb varbit, by bytea, u uuid, j json, jb jsonb, jp jsonpath, ip inet, ci cidr, m macaddr, m8 macaddr8, l pg_lsn, s pg_snapshot, x xid8, p point, bx box, ph path, pg polygon, ci2 circle, ln line, tv tsvector, tq tsquery,
  r int4range, nr numrange, tr tstzrange, mr int4multirange, tm tstzmultirange, rc regclass, rp regprocedure, rt regtype, iv int2vector, ov oidvector, td tid);
INSERT INTO v.others VALUES (B'101', B'', '\x', gen_random_uuid(), E'{"a" : 1,\n "a":2, "\\u0041":"\\\\"}', '{"a": [1, null, "\\", "\u00e9", 1e400, 0.10]}', '$."a\"b"[*] ? (@ > 1 && @.x like_regex "^\\d+$" flag "i")', '::ffff:1.2.3.4/96', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', 'FFFFFFFF/FFFFFFFF', '10:20:10,14,15', '18446744073709551615',
  '(Infinity,NaN)', '(1e-300,-0),(0,0)', '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '<(0,0),0>', '{1,-1,0}', $$'a''b' '\\x':3A 'q r':1,2B$$, $$'it''s' & !'a b':*AB <2> 'x' | ''''$$, 'empty', '[-Infinity,1.50)', '("2026-01-01 00:00:00+00",infinity]', '{[1,3),[5,)}', '{}', 'pg_class', 'int4pl(int,int)', 'v.odd', '1 2 3', '4 5', '(4294967295,65535)'),
  (B'000', repeat('10', 5000)::varbit, decode(repeat('00ff5c0a09', 200000), 'hex'), NULL, 'null', 'null', '$', '0.0.0.0/0', '::/0', NULL, NULL, '0/0', NULL, '0', NULL, NULL, '((0,0))', NULL, NULL, NULL, '', NULL, '(,)', 'empty', NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE v.nothing (); INSERT INTO v.nothing DEFAULT VALUES; INSERT INTO v.nothing DEFAULT VALUES;
CREATE TABLE v.computed (g int GENERATED ALWAYS AS (1) STORED); INSERT INTO v.computed DEFAULT VALUES;
CREATE TABLE v.empty (a int, b v.both);
CREATE UNLOGGED TABLE v.unlogged (a int, b serial); INSERT INTO v.unlogged VALUES (1);
DO $$ DECLARE columns text; BEGIN
  SELECT string_agg(format('c%s int', i), ', ') INTO columns FROM generate_series(1, 1600) i;
  EXECUTE 'CREATE TABLE v.wide (' || columns || ')';
  EXECUTE 'ALTER TABLE v.wide DROP COLUMN c1, DROP COLUMN c800, DROP COLUMN c1600';
  INSERT INTO v.wide (c2, c799, c801, c1599) VALUES (1, 2, 3, 4), (NULL, NULL, NULL, NULL);
END $$;
CREATE TABLE v.all_words ();
DO $$ DECLARE word text; BEGIN
  FOR word IN SELECT k.word FROM pg_get_keywords() k ORDER BY 1 LOOP
    EXECUTE format('ALTER TABLE v.all_words ADD COLUMN %I int', word);
    EXECUTE format('CREATE FUNCTION v.%I(%I int) RETURNS int LANGUAGE sql AS ''SELECT 1''', word, word);
    EXECUTE format('CREATE DOMAIN v.%I AS int', 'd ' || word);
  END LOOP;
  EXECUTE 'INSERT INTO v.all_words ("select", "between", "authorization", "year") VALUES (1, 2, 3, 4)';
END $$;
DO $do$ DECLARE one text; number int := 0; BEGIN
  FOREACH one IN ARRAY ARRAY['a"b', '"', '""', 'a''b', E'a\\b', E'\\', E'\\.', E'\\N', E'a\nb', E'\n', E'a\rb', E'\t', ' ', ' a ', '.', '..', '...', '../../x', '/', '/etc', 'a/b', 'a.b', '.hidden', '%', '%2E', '%00', 'a%2Fb', '%25', 'A', 'a', 'Ab', 'aB', 'Ä', 'ä',
      U&'a\0308', '𝄞', U&'\+10FFFF', U&'\202Ex', U&'\FEFF', '漢字', 'select', 'Table', '$1', '$$', '$x$', ';--', '/*', '*/', '{role}', 'data', 'small', 'large_objects', 'NULL', '1', '-', '#', ':a', '&', '~', '*', '?', 'CON', 'public', repeat('x', 63), repeat('x', 62) || 'y', repeat('é', 31) || 'a', repeat('𝄞', 15) || 'ab'] LOOP
    number := number + 1;
    IF one <> 'public' THEN EXECUTE format('CREATE SCHEMA %I', one); END IF;
    EXECUTE format('CREATE TABLE %1$I.%1$I (%1$I serial PRIMARY KEY, u int UNIQUE CHECK (u > 0), %2$I text DEFAULT %1$L, EXCLUDE (%2$I WITH =))', one, 'z' || left(one, 20));
    EXECUTE format('INSERT INTO %1$I.%1$I (u) SELECT i FROM generate_series(1, 1 + %2$s %% 3) i ON CONFLICT DO NOTHING', one, number);
    EXECUTE format('CREATE INDEX ON %1$I.%1$I ((u + 1)); CREATE VIEW %1$I.%2$I AS SELECT * FROM %1$I.%1$I', one, 'v' || left(one, 20));
    EXECUTE format('CREATE TYPE %1$I.%2$I AS ENUM (%3$L); CREATE TABLE %1$I.%4$I (a %1$I.%2$I[] DEFAULT ARRAY[%3$L]::%1$I.%2$I[])', one, 't' || left(one, 20), left(one, 15), 'w' || left(one, 20));
    EXECUTE format('CREATE FUNCTION %1$I.%1$I(%1$I text DEFAULT %1$L) RETURNS text LANGUAGE sql AS %2$L', one, 'SELECT ' || quote_literal(one));
    EXECUTE format('CREATE POLICY %1$I ON %1$I.%1$I; CREATE STATISTICS %1$I.%2$I ON u, %3$I FROM %1$I.%1$I; CREATE PUBLICATION %1$I FOR TABLE %1$I.%1$I', one, 's' || left(one, 20), 'z' || left(one, 20));
    EXECUTE format('CREATE RULE %1$I AS ON DELETE TO %1$I.%1$I DO INSTEAD NOTHING; COMMENT ON TABLE %1$I.%1$I IS %1$L', one);
  END LOOP;
END $do$;
CREATE TABLE v.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy serial UNIQUE, zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz serial UNIQUE);
CREATE TYPE v.taken AS (a int);
CREATE TABLE v._taken (a v.taken[]);
