-- A finance application's database, as large as wanted, with every awkward thing that applications do.
--
-- Plain SQL for PostgreSQL 13 and newer: runs as one batch through any driver, or with psql, in an empty database, as
-- a superuser. `SET pgkeep.sample_rows = '2000000'` before it chooses how many transactions are made (20000 if unset).
-- The same number of rows gives the same rows on every server: values derive from row numbers, never from random().
--
-- `SELECT finance.add_month('2026-01-01', 5000)` appends a partition with rows, as a month of business would.

SET client_min_messages = warning;
SET timezone = 'UTC';

-- Roles belong to the cluster: other databases of it may have made them, even at this very moment.
DO $$
BEGIN
    CREATE ROLE finance_owner NOLOGIN;
    COMMENT ON ROLE finance_owner IS 'Owns the objects of the finance application';
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    CREATE ROLE finance_reader NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    CREATE ROLE finance_app LOGIN CONNECTION LIMIT 50 IN ROLE finance_reader;
    ALTER ROLE finance_app SET statement_timeout = '30s';
    ALTER ROLE finance_app SET search_path = finance, "$user", public;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET default_statistics_target = 150', current_database());
    EXECUTE format('ALTER DATABASE %I SET datestyle = ''ISO, DMY''', current_database());
    EXECUTE format('ALTER ROLE finance_app IN DATABASE %I SET work_mem = ''8MB''', current_database());
    EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'Harena''s sample of a finance application');
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO finance_app', current_database());
END $$;

CREATE SCHEMA finance AUTHORIZATION finance_owner;
COMMENT ON SCHEMA finance IS 'Accounts, categories and what moved between them';
CREATE SCHEMA audit;
CREATE SCHEMA extensions;
CREATE SCHEMA "Rapports d'activité";
GRANT USAGE ON SCHEMA finance TO finance_reader;
GRANT USAGE, CREATE ON SCHEMA audit TO finance_owner WITH GRANT OPTION;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO finance_reader;

CREATE EXTENSION btree_gist WITH SCHEMA extensions;
CREATE EXTENSION citext WITH SCHEMA extensions;
COMMENT ON EXTENSION citext IS 'Case-insensitive text, for addresses of mail';
GRANT USAGE ON SCHEMA extensions TO PUBLIC;
REVOKE EXECUTE ON FUNCTION extensions.citext_eq(extensions.citext, extensions.citext) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION extensions.citext_eq(extensions.citext, extensions.citext) TO finance_owner, finance_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE finance_owner IN SCHEMA finance GRANT SELECT ON TABLES TO finance_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE finance_owner IN SCHEMA finance GRANT USAGE, SELECT ON SEQUENCES TO finance_app;
ALTER DEFAULT PRIVILEGES FOR ROLE finance_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE finance_owner GRANT USAGE ON TYPES TO finance_reader;

-- Types -------------------------------------------------------------------------------------------------------------

CREATE TYPE finance.transaction_status AS ENUM ('draft', 'pending', 'booked', 'it''s disputed', 'réfusé');
-- Older servers let no row use it in the transaction that adds it, so none of the sample's rows does.
ALTER TYPE finance.transaction_status ADD VALUE 'reversed' BEFORE 'réfusé';
COMMENT ON TYPE finance.transaction_status IS 'How far a transaction has come';
CREATE TYPE finance.mood AS ENUM ();

CREATE DOMAIN finance.currency AS character(3) DEFAULT 'EUR' NOT NULL CONSTRAINT currency_is_iso CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE DOMAIN finance.iban AS text COLLATE "C"
    CONSTRAINT iban_has_country CHECK (VALUE ~ '^[A-Z]{2}[0-9]{2}')
    CONSTRAINT iban_length CHECK (length(VALUE) BETWEEN 15 AND 34);
COMMENT ON DOMAIN finance.iban IS E'International account number,\nwithout spaces';
COMMENT ON CONSTRAINT iban_length ON DOMAIN finance.iban IS 'Norway has 15, Malta 31';
CREATE DOMAIN finance.positive AS numeric(20, 4) CHECK (VALUE > 0);
ALTER DOMAIN finance.positive ADD CONSTRAINT positive_is_sane CHECK (VALUE < 1e15) NOT VALID;

CREATE TYPE finance.counterparty AS (
    name text COLLATE "POSIX",
    account finance.iban,
    addresses text[]
);
COMMENT ON COLUMN finance.counterparty.name IS 'As the bank wrote it';
CREATE TYPE finance.exchange_rate AS (base text, quote text, day date, rate numeric(18, 8));

CREATE FUNCTION finance.amount_difference(a double precision, b double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT a - b';
CREATE TYPE finance.amount_range AS RANGE (subtype = double precision, subtype_diff = finance.amount_difference);
REVOKE USAGE ON TYPE finance.amount_range FROM PUBLIC;
GRANT USAGE ON TYPE finance.amount_range TO finance_app;

-- Functions that later objects need -----------------------------------------------------------------------------------

CREATE FUNCTION finance.pick(row_number bigint, salt bigint, choices bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5
    AS $$ SELECT abs(pg_catalog.hashint8extended(row_number, salt) % choices) $$;
COMMENT ON FUNCTION finance.pick(bigint, bigint, bigint) IS 'A number below choices, always the same for a row';

CREATE FUNCTION finance.normalized(label text, VARIADIC noise text[] DEFAULT ARRAY['*', '#']) RETURNS text
    LANGUAGE plpgsql IMMUTABLE LEAKPROOF PARALLEL SAFE AS $function$
DECLARE
    result text := lower(label);
    mark text;
BEGIN
    FOREACH mark IN ARRAY noise LOOP
        result := replace(result, mark, $q$$$q$ || '');
    END LOOP;
    RETURN btrim(replace(result, '$$', ''));
END
$function$;

-- Tables --------------------------------------------------------------------------------------------------------------

CREATE SEQUENCE finance.document_numbers AS integer START 1000 INCREMENT 10 MINVALUE 1000 MAXVALUE 9990 CACHE 5 CYCLE;
CREATE SEQUENCE finance.countdown INCREMENT -1 MAXVALUE 100 MINVALUE -100 START 100;
COMMENT ON SEQUENCE finance.document_numbers IS 'Wraps once a year';

CREATE TABLE finance.categories (
    id integer GENERATED BY DEFAULT AS IDENTITY (START WITH 10 INCREMENT BY 5) PRIMARY KEY,
    parent_id integer REFERENCES finance.categories (id) ON UPDATE CASCADE ON DELETE RESTRICT,
    name text NOT NULL,
    path text[] NOT NULL,
    is_expense boolean NOT NULL DEFAULT true,
    CONSTRAINT categories_name_in_parent UNIQUE (parent_id, name),
    CONSTRAINT categories_not_own_parent CHECK (parent_id IS DISTINCT FROM id)
);
COMMENT ON TABLE finance.categories IS 'A tree; roots have no parent';
COMMENT ON COLUMN finance.categories.path IS 'Names from the root down';

CREATE TABLE finance.accounts (
    id bigint GENERATED ALWAYS AS IDENTITY,
    obsolete_name text,
    owner_email extensions.citext NOT NULL,
    iban finance.iban,
    currency finance.currency,
    opened_on date NOT NULL,
    closed_on date,
    credit_limit numeric(14, 2) DEFAULT 0.00,
    open_period daterange GENERATED ALWAYS AS (daterange(opened_on, closed_on, '[)')) STORED,
    settings jsonb NOT NULL DEFAULT '{"alerts": true}',
    CONSTRAINT accounts_pkey PRIMARY KEY (id) WITH (fillfactor = 90),
    CONSTRAINT accounts_iban UNIQUE (iban) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT accounts_closed_after_opened CHECK (closed_on >= opened_on)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = true);
ALTER TABLE finance.accounts DROP COLUMN obsolete_name;
ALTER TABLE finance.accounts ADD COLUMN language character varying(8) COLLATE "C" NOT NULL DEFAULT 'fr';
ALTER TABLE finance.accounts ALTER COLUMN settings SET STORAGE EXTERNAL;
ALTER TABLE finance.accounts ALTER COLUMN owner_email SET STATISTICS 500;
ALTER TABLE finance.accounts ALTER COLUMN currency SET (n_distinct = 5, n_distinct_inherited = -0.5);
COMMENT ON COLUMN finance.accounts.language IS 'Added later: rows older than the column hold its default in the catalog';

CREATE TABLE finance.transactions (
    id bigint NOT NULL,
    booked_on date NOT NULL,
    account_id bigint NOT NULL,
    category_id integer,
    status finance.transaction_status NOT NULL DEFAULT 'draft',
    amount numeric(14, 2) NOT NULL,
    currency finance.currency,
    exchange_rate numeric DEFAULT 1,
    amount_in_euro numeric GENERATED ALWAYS AS (round(amount * exchange_rate, 4)) STORED,
    booked_at timestamp with time zone NOT NULL,
    entered_at timestamp without time zone,
    description text,
    counterparty finance.counterparty,
    tags text[] NOT NULL DEFAULT '{}',
    details jsonb,
    bank_message json,
    receipt bytea,
    PRIMARY KEY (id, booked_on)
) PARTITION BY RANGE (booked_on);
COMMENT ON TABLE finance.transactions IS 'One partition for each month';

DO $$
DECLARE
    month date;
BEGIN
    FOR month IN SELECT generate_series(date '2024-02-01', date '2025-12-01', interval '1 month')::date LOOP
        EXECUTE format('CREATE TABLE finance.%I PARTITION OF finance.transactions FOR VALUES FROM (%L) TO (%L)%s',
            'transactions_' || to_char(month, 'YYYY_MM'), month, (month + interval '1 month')::date,
            CASE WHEN month = date '2025-06-01' THEN ' PARTITION BY HASH (id)' ELSE '' END);
    END LOOP;
END $$;
CREATE TABLE finance.transactions_2025_06_0 PARTITION OF finance.transactions_2025_06 FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE finance.transactions_2025_06_1 PARTITION OF finance.transactions_2025_06 FOR VALUES WITH (modulus 4, remainder 1);
CREATE TABLE finance.transactions_2025_06_3 PARTITION OF finance.transactions_2025_06 FOR VALUES WITH (modulus 4, remainder 3);
CREATE TABLE finance.transactions_other PARTITION OF finance.transactions DEFAULT;
ALTER TABLE finance.transactions_2025_01 ALTER COLUMN status SET DEFAULT 'booked';
ALTER TABLE finance.transactions_2025_02 SET (fillfactor = 70, autovacuum_enabled = off);
CREATE INDEX "only this month" ON finance.transactions_2025_02 USING hash (description);

-- A month that lived elsewhere first: other column order, a column dropped on the way.
CREATE TABLE finance.transactions_2024_01 (
    receipt bytea,
    legacy_key uuid,
    booked_on date NOT NULL,
    id bigint NOT NULL,
    bank_message json,
    details jsonb,
    tags text[] NOT NULL DEFAULT '{}',
    counterparty finance.counterparty,
    description text,
    entered_at timestamp without time zone,
    booked_at timestamp with time zone NOT NULL,
    exchange_rate numeric DEFAULT 1,
    currency finance.currency,
    amount numeric(14, 2) NOT NULL,
    amount_in_euro numeric GENERATED ALWAYS AS (round(amount * exchange_rate, 4)) STORED,
    status finance.transaction_status NOT NULL DEFAULT 'draft',
    category_id integer,
    account_id bigint NOT NULL,
    CONSTRAINT "2024_01_bounds" CHECK (booked_on >= '2024-01-01' AND booked_on < '2024-02-01')
);
ALTER TABLE finance.transactions_2024_01 DROP COLUMN legacy_key;
ALTER TABLE finance.transactions ATTACH PARTITION finance.transactions_2024_01 FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');

CREATE TABLE finance.budgets (
    account_id bigint NOT NULL REFERENCES finance.accounts ON DELETE CASCADE,
    category_id integer NOT NULL REFERENCES finance.categories DEFERRABLE INITIALLY DEFERRED,
    period daterange NOT NULL,
    limits finance.amount_range,
    planned finance.positive,
    note text CONSTRAINT budgets_note_not_blank CHECK (note <> '') NO INHERIT,
    CONSTRAINT budgets_do_not_overlap EXCLUDE USING gist (account_id WITH =, category_id WITH =, period WITH &&)
        WHERE (NOT isempty(period))
);
COMMENT ON CONSTRAINT budgets_do_not_overlap ON finance.budgets IS 'One budget at a time';

CREATE TABLE finance.documents (
    id integer PRIMARY KEY DEFAULT nextval('finance.document_numbers'),
    title text NOT NULL DEFAULT 'untitled',
    content oid,
    created_at timestamptz DEFAULT '2024-01-01 00:00:00+00'
);
ALTER SEQUENCE finance.document_numbers OWNED BY finance.documents.id;
CREATE TABLE finance.invoices (
    due_on date,
    paid boolean NOT NULL DEFAULT false,
    title text NOT NULL DEFAULT 'invoice',
    CHECK (due_on > date '2000-01-01')
) INHERITS (finance.documents);
CREATE TABLE finance.reminders (level smallint DEFAULT 1) INHERITS (finance.invoices);
ALTER TABLE finance.reminders ALTER COLUMN paid SET DEFAULT true;

CREATE TABLE finance.exchange_rates OF finance.exchange_rate (
    base WITH OPTIONS NOT NULL DEFAULT 'EUR',
    PRIMARY KEY (base, quote, day),
    CHECK (rate > 0)
);

CREATE UNLOGGED TABLE finance.import_staging (line_number bigserial, line text, "order" integer, "select" boolean);

CREATE TABLE finance.numbers (
    id serial PRIMARY KEY,
    small smallint,
    big bigint,
    exact numeric,
    scaled numeric(38, 10),
    real4 real,
    real8 double precision,
    flags bit varying(12),
    byte "char"
);
CREATE TABLE finance.moments (
    id smallserial PRIMARY KEY,
    day date,
    at timestamp(3) without time zone,
    at_zone timestamp with time zone,
    clock time without time zone,
    clock_zone time with time zone,
    span interval,
    during tstzrange
);
CREATE TABLE finance.awkward_text (
    id integer PRIMARY KEY,
    label text NOT NULL,
    value text,
    fixed character(8),
    bounded character varying(40) DEFAULT E'it''s "odd"\\ \n'
);
CREATE TABLE finance.assorted (
    id uuid PRIMARY KEY,
    address inet,
    network cidr,
    hardware macaddr,
    place point,
    outline polygon,
    search tsvector,
    path jsonpath,
    matrix integer[][],
    parties finance.counterparty[],
    currencies finance.currency[],
    wal_position pg_lsn,
    who name
);
CREATE TABLE "Rapports d'activité"."Größe ""quoted"" 50%" (
    "Spalte mit Leerzeichen" integer PRIMARY KEY,
    "naïve\path" text DEFAULT E'a\\b',
    "💶" numeric,
    "user" text DEFAULT CURRENT_USER
);
CREATE TABLE finance.no_columns ();
CREATE TABLE audit.changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    operation text NOT NULL,
    row_count bigint,
    old_row jsonb,
    new_row jsonb,
    changed_by text NOT NULL DEFAULT 'sample'
);
CREATE TABLE audit.notes (id integer NOT NULL, body text);

-- What only newer servers know.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 140000 THEN
        EXECUTE 'ALTER TABLE finance.accounts ALTER COLUMN settings SET COMPRESSION pglz';
        EXECUTE $q$ CREATE FUNCTION finance.fee(amount numeric, OUT fee numeric, OUT net numeric)
            LANGUAGE SQL IMMUTABLE BEGIN ATOMIC SELECT round(amount * 0.01, 2), amount - round(amount * 0.01, 2); END $q$;
        EXECUTE 'CREATE STATISTICS finance.awkward_lengths ON (length(value)), (length(label)) FROM finance.awkward_text';
    END IF;
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'ALTER TABLE audit.notes ADD CONSTRAINT notes_once UNIQUE NULLS NOT DISTINCT (id, body)';
        EXECUTE 'CREATE VIEW finance.own_accounts WITH (security_invoker = true) AS SELECT id, iban FROM finance.accounts';
    END IF;
    IF current_setting('server_version_num')::integer >= 180000 THEN
        EXECUTE 'ALTER TABLE audit.notes ADD COLUMN body_length integer GENERATED ALWAYS AS (length(body)) VIRTUAL';
        EXECUTE 'ALTER TABLE audit.notes ADD CONSTRAINT notes_body_present NOT NULL body NOT VALID';
    END IF;
END $$;

-- Rows ----------------------------------------------------------------------------------------------------------------

INSERT INTO finance.categories (parent_id, name, path, is_expense)
SELECT NULL, name, ARRAY[name], name <> 'Income'
FROM unnest(ARRAY['Income', 'Housing', 'Food', 'Transport', 'Health', 'Leisure', 'Übriges & Sonstiges']) WITH ORDINALITY AS t (name, n)
ORDER BY n;
INSERT INTO finance.categories (parent_id, name, path, is_expense)
SELECT c.id, c.name || ' / ' || k, c.path || ('sub, "' || k || '"'), c.is_expense
FROM finance.categories c, generate_series(1, 8) k
ORDER BY c.id, k;

INSERT INTO finance.accounts (owner_email, iban, currency, opened_on, closed_on, credit_limit, settings, language)
SELECT format('Client.%s@Example.ORG', i),
    'FR' || lpad((i % 97)::text, 2, '0') || lpad(i::text, 23, '0'),
    (ARRAY['EUR', 'USD', 'CHF', 'GBP', 'JPY'])[1 + finance.pick(i, 1, 5)],
    date '2010-01-01' + finance.pick(i, 2, 5000)::integer,
    CASE WHEN finance.pick(i, 3, 20) = 0 THEN date '2024-01-01' + finance.pick(i, 4, 300)::integer END,
    CASE WHEN finance.pick(i, 5, 10) > 0 THEN finance.pick(i, 6, 1000000) / 100.0 END,
    jsonb_build_object('alerts', i % 2 = 0, 'theme', (ARRAY['dark', 'light', NULL])[1 + i % 3], 'pin', repeat('*', (i % 5)::integer)),
    (ARRAY['fr', 'de', 'en-GB', ''])[1 + i % 4]
FROM generate_series(1, greatest(10, coalesce(nullif(current_setting('pgkeep.sample_rows', true), '')::bigint, 20000) / 500)) i;

CREATE PROCEDURE finance.generate_transactions(first_id bigint, how_many bigint, first_day date, days integer)
    LANGUAGE sql SET timezone = 'UTC' AS $$
INSERT INTO finance.transactions (id, booked_on, account_id, category_id, status, amount, currency, exchange_rate,
    booked_at, entered_at, description, counterparty, tags, details, bank_message, receipt)
SELECT i,
    day,
    1 + finance.pick(i, 11, accounts.total),
    CASE WHEN finance.pick(i, 12, 25) > 0 THEN 10 + 5 * finance.pick(i, 13, 63) END,
    (ARRAY['draft', 'pending', 'booked', 'it''s disputed', 'réfusé']::finance.transaction_status[])[1 + finance.pick(i, 14, 5)],
    (finance.pick(i, 15, 2000000) - 1500000) / 100.0,
    (ARRAY['EUR', 'USD', 'CHF'])[1 + finance.pick(i, 16, 3)],
    (ARRAY[1, 0.92173, 1.0486])[1 + finance.pick(i, 16, 3)],
    day + make_interval(secs => finance.pick(i, 17, 86400000000) / 1e6),
    CASE WHEN finance.pick(i, 18, 3) > 0 THEN day::timestamp + make_interval(secs => finance.pick(i, 19, 86400)) END,
    CASE finance.pick(i, 20, 8)
        WHEN 0 THEN NULL
        WHEN 1 THEN ''
        WHEN 2 THEN E'Zweizeilig\nmit\tTabulator und \\. Rückstrich №' || i
        ELSE (ARRAY['Boulangerie Éléphant', 'СберМаркет', '東京メトロ', 'O''Brien & Søns', 'Café "Zoë" ☕'])[1 + finance.pick(i, 21, 5)]
            || ' #' || finance.pick(i, 22, 100000)
    END,
    CASE WHEN finance.pick(i, 23, 4) = 0 THEN
        ROW('Partner ' || finance.pick(i, 24, 500), 'DE' || lpad(finance.pick(i, 25, 100000)::text, 20, '4'),
            ARRAY['Rue de l''Église 5, "bât. B"', NULL, ''])::finance.counterparty
    END,
    CASE finance.pick(i, 26, 4) WHEN 0 THEN '{}' WHEN 1 THEN ARRAY['import', NULL] ELSE ARRAY['card', 'NULL', 'a,b', E'"\\'] END,
    CASE WHEN finance.pick(i, 27, 3) > 0 THEN
        jsonb_build_object('terminal', finance.pick(i, 28, 9999), 'geo', jsonb_build_array(48.85, 2.35), 'memo', E'“été”\t☃', 'void', NULL)
    END,
    CASE WHEN finance.pick(i, 29, 10) = 0 THEN '{"b": 1,   "a": 2, "b": 3}'::json END,
    CASE WHEN finance.pick(i, 30, 10) = 0 THEN decode(repeat(md5(i::text), 1 + finance.pick(i, 31, 6)::integer), 'hex') END
FROM generate_series(first_id, first_id + how_many - 1) i
CROSS JOIN LATERAL (SELECT first_day + ((i - first_id) * days / how_many)::integer AS day) AS calendar
CROSS JOIN (SELECT count(*) AS total FROM finance.accounts) AS accounts
$$;

CREATE FUNCTION finance.add_month(month date, how_many bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    next_month date := (month + interval '1 month')::date;
    first_id bigint := (SELECT coalesce(max(id), 0) + 1 FROM finance.transactions);
BEGIN
    EXECUTE format('CREATE TABLE finance.%I PARTITION OF finance.transactions FOR VALUES FROM (%L) TO (%L)',
        'transactions_' || to_char(month, 'YYYY_MM'), month, next_month);
    CALL finance.generate_transactions(first_id, how_many, month, next_month - month);
END
$$;
COMMENT ON FUNCTION finance.add_month(date, bigint) IS 'Appends a partition with rows';

-- 2024 and 2025, and a few rows outside of all months.
DO $$
DECLARE
    rows bigint := coalesce(nullif(current_setting('pgkeep.sample_rows', true), '')::bigint, 20000);
BEGIN
    CALL finance.generate_transactions(1, rows, '2024-01-01', 731);
    CALL finance.generate_transactions(rows + 1, 10, '2019-12-28', 10);
END $$;

INSERT INTO finance.budgets (account_id, category_id, period, limits, planned, note)
SELECT 1 + i % 10, 10 + 5 * (i % 7), daterange(date '2024-01-01' + i * 30, date '2024-01-01' + i * 30 + 30),
    finance.amount_range(i * 1.5, CASE WHEN i % 9 > 0 THEN i * 2.25 END, '[)'), 1 + i * 10.0001,
    CASE WHEN i % 3 = 0 THEN 'Budget №' || i END
FROM generate_series(0, 69) i;
INSERT INTO finance.budgets VALUES (1, 10, 'empty', 'empty', NULL, NULL), (2, 15, '(,2000-01-01)', '(,)', 0.0001, ' ');

INSERT INTO finance.exchange_rates
SELECT 'EUR', quote, day::date, 0.5 + finance.pick(extract(epoch FROM day)::bigint, length(quote) + ascii(quote), 100000000) / 1e8
FROM generate_series(timestamp '2024-01-01', '2024-06-30', '1 day') day, unnest(ARRAY['USD', 'CHF', 'JPY']) quote;

INSERT INTO finance.numbers (small, big, exact, scaled, real4, real8, flags, byte) VALUES
    (0, 0, 0, 0, 0, 0, B'', ''),
    (-32768, -9223372036854775808, -0.00, -9999999999999999999999999999.9999999999, '-0', '-0', B'0', 'a'),
    (32767, 9223372036854775807, 1e131, 0.0000000001, 3.4028235e38, 1.7976931348623157e308, B'111111111111', E'\\'),
    (1, 1, 1e-200, 1.0000000000, 1.401298464324817e-45, 5e-324, B'101', E'\\377'),
    (NULL, NULL, 'NaN', 'NaN', 'NaN', 'NaN', NULL, NULL),
    (NULL, NULL, 123456789012345678901234567890.123456789012345678901234567890, NULL, 'Infinity', '-Infinity', NULL, NULL),
    (NULL, NULL, NULL, NULL, 0.1, 0.30000000000000004, NULL, NULL);
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 140000 THEN
        INSERT INTO finance.numbers (exact) VALUES ('Infinity'), ('-Infinity');
    END IF;
END $$;

INSERT INTO finance.moments (day, at, at_zone, clock, clock_zone, span, during) VALUES
    ('infinity', 'infinity', 'infinity', '24:00:00', '24:00:00+00', '1 year 2 mons -3 days 04:05:06.789', '(,)'),
    ('-infinity', '-infinity', '-infinity', '00:00:00', '00:00:00-15:59', '-1 day +00:00:01', 'empty'),
    ('4714-11-24 BC', '4713-01-01 00:00:00 BC', '4714-11-24 00:00:00+00 BC', '23:59:59.999999', '12:00:00+05:45', '0', '[2024-03-31 00:30+00,infinity]'),
    ('5874897-12-31', '294276-12-31 23:59:59.999', '294276-12-31 23:59:59.999999+00', '12:00:00.000001', NULL, '178000000 years', '[2024-03-31 00:30+00,2024-03-31 01:30+00)'),
    ('2024-02-29', '2024-10-27 02:30:00.123', '2024-10-27 02:30:00+02', '02:30', '02:30+02', 'P1M', NULL),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO finance.awkward_text (id, label, value, fixed) VALUES
    (1, 'null', NULL, NULL),
    (2, 'empty', '', ''),
    (3, 'space', ' ', ' x'),
    (4, 'backslash N', E'\\N', E'\\N'),
    (5, 'end of data', E'\\.', E'\\.'),
    (6, 'end of data on its own line', E'before\n\\.\nafter', NULL),
    (7, 'carriage returns', E'a\rb\r\nc\n\rd', E'\r\n'),
    (8, 'tabs', E'\t\ta\tb\t', E'\t'),
    (9, 'backslashes', E'\\ \\\\ \\t \\n \\x41 \\101 \\', E'\\\\'),
    (10, 'quotes', $q$'single' "double" `back` $$dollar$$ E'\'' $q$, ''''),
    (11, 'vertical and form feed', chr(11) || chr(12) || chr(8) || chr(7), NULL),
    (12, 'combining and joiners', U&'e\0301 \200D \FE0F \202E reversed \202C \FEFF', U&'\00E9\0301'),
    (13, 'emoji family', '👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷', '👍🏽'),
    (14, 'right to left', 'שלום עולם مرحبا', 'שלום'),
    (15, 'csv-like', 'a,"b ""c""",NULL,\N', 'NULL'),
    (16, 'percent and placeholders', '%s %d %% $1 :name ? {0} ${HOME}', '%s'),
    (17, 'long and compressible', repeat('pgkeep ', 40000), NULL),
    (18, 'comment marks', '-- not a comment /* nor this */ ; DROP TABLE x;', '--'),
    (19, 'noncharacters', chr(65534) || chr(65535) || chr(64976), NULL),
    (20, 'very long line', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 12000) i), NULL);
INSERT INTO finance.awkward_text (id, label, value)
SELECT 1000 + code, 'control ' || code, 'a' || chr(code) || 'b' || chr(code) FROM generate_series(1, 160) code;
-- The first, a middle and the last character of each Unicode plane.
INSERT INTO finance.awkward_text (id, label, value)
SELECT 2000 + plane * 3 + at, 'plane ' || plane, chr(greatest(plane * 65536 + (ARRAY[0, 30000, 65533])[1 + at], 1))
FROM generate_series(0, 16) plane, generate_series(0, 2) at;

INSERT INTO finance.assorted VALUES
    ('00000000-0000-0000-0000-000000000000', '192.168.1.5/24', '10.0.0.0/8', '08:00:2b:01:02:03', '(1.5,-2)', '((0,0),(1,0),(1,1))',
     $q$'a':1A 'it''s':2 'back\\slash':3B$q$, '$.a[*] ? (@ > 1)', '{{1,2},{3,NULL}}',
     ARRAY[ROW('x "y", z\', 'DE44444444444444444444', '{}'), NULL]::finance.counterparty[], '{EUR,USD}', '16/B374D848', 'postgres'),
    ('ffffffff-ffff-ffff-ffff-ffffffffffff', '::1', '2001:db8::/32', NULL, '(NaN,Infinity)', NULL, '', 'strict $', '[-1:0][2:3]={{1,2},{3,4}}',
     '{}', '{}', '0/0', ''),
    ('12345678-1234-5678-1234-567812345678', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO finance.documents (title) VALUES ('Statement'), (E'Multi\nline');
INSERT INTO finance.invoices (due_on, paid) VALUES ('2024-05-01', true), ('2024-06-01', false);
INSERT INTO finance.reminders (due_on, level) VALUES ('2024-07-01', 3);
INSERT INTO finance.import_staging (line, "order") SELECT 'line ' || i, i FROM generate_series(1, 50) i;
INSERT INTO "Rapports d'activité"."Größe ""quoted"" 50%" VALUES (1, 'C:\temp', 12.50, 'x'), (-1, NULL, NULL, NULL);
INSERT INTO finance.no_columns DEFAULT VALUES;
INSERT INTO finance.no_columns DEFAULT VALUES;
INSERT INTO audit.changes (table_name, operation, row_count, new_row)
SELECT 'finance.transactions', 'INSERT', i, jsonb_build_object('id', i) FROM generate_series(1, 200) i;
INSERT INTO audit.notes VALUES (1, 'first'), (2, '');
SELECT setval('finance.countdown', 42, false);

SET CONSTRAINTS ALL IMMEDIATE;

-- Constraints, statistics and options that come once there are rows ----------------------------------------------------

ALTER TABLE finance.transactions ADD FOREIGN KEY (account_id) REFERENCES finance.accounts (id);
ALTER TABLE finance.transactions ADD FOREIGN KEY (category_id) REFERENCES finance.categories (id) ON DELETE SET NULL;
CREATE INDEX transactions_account_time ON finance.transactions (account_id, booked_at DESC NULLS LAST) INCLUDE (amount);
CREATE INDEX transactions_details ON finance.transactions USING gin (details jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX transactions_booked_at ON finance.transactions USING brin (booked_at) WITH (pages_per_range = 32);
CREATE INDEX transactions_open ON finance.transactions (booked_on) WHERE status IN ('draft', 'pending');
COMMENT ON INDEX finance.transactions_open IS 'What the nightly job settles';
ALTER TABLE finance.invoices ADD CONSTRAINT invoices_title_set CHECK (title <> 'untitled') NOT VALID;
ALTER TABLE audit.notes ADD CONSTRAINT notes_known_document FOREIGN KEY (id) REFERENCES finance.documents (id) NOT VALID;
CREATE UNIQUE INDEX accounts_email ON finance.accounts (lower(owner_email::text) text_pattern_ops) WHERE closed_on IS NULL;
CREATE UNIQUE INDEX accounts_identity ON finance.accounts (id, opened_on);
ALTER TABLE finance.accounts REPLICA IDENTITY USING INDEX accounts_identity;
ALTER TABLE finance.accounts CLUSTER ON accounts_pkey;
ALTER TABLE audit.notes REPLICA IDENTITY FULL;
CREATE INDEX awkward_expression ON finance.awkward_text ((finance.normalized(left(value, 100)) || 'x'), (length(value)) DESC);
ALTER INDEX finance.awkward_expression ALTER COLUMN 1 SET STATISTICS 300;
CREATE INDEX numbers_covering ON finance.numbers USING btree (real8 DESC, small) INCLUDE (exact) WITH (fillfactor = 60);
CREATE STATISTICS finance.transactions_by_account (ndistinct, dependencies) ON account_id, currency, status FROM finance.transactions;
CREATE STATISTICS finance.account_values (mcv) ON currency, language FROM finance.accounts;
ALTER STATISTICS finance.account_values SET STATISTICS 200;
COMMENT ON STATISTICS finance.account_values IS 'Swiss accounts speak German';

-- Aggregates ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION finance.add_product(state numeric, value numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(state, 1) * coalesce(value, 1) $$;
CREATE AGGREGATE finance.product(numeric) (
    SFUNC = finance.add_product, STYPE = numeric, COMBINEFUNC = finance.add_product, INITCOND = '1', PARALLEL = SAFE
);
COMMENT ON AGGREGATE finance.product(numeric) IS 'Compounds interest';
CREATE FUNCTION finance.keep_values(state double precision[], value double precision) RETURNS double precision[]
    LANGUAGE sql IMMUTABLE AS $$ SELECT array_append(state, value) $$;
CREATE FUNCTION finance.value_at(state double precision[], share double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE AS $$
    SELECT v FROM unnest(state) v ORDER BY v OFFSET greatest(0, ceil(share * cardinality(state))::integer - 1) LIMIT 1
$$;
CREATE AGGREGATE finance.quantile(double precision ORDER BY double precision) (
    SFUNC = finance.keep_values, STYPE = double precision[], FINALFUNC = finance.value_at, INITCOND = '{}'
);
CREATE AGGREGATE finance.moving_total(bigint) (
    SFUNC = int8pl, STYPE = bigint, MSFUNC = int8pl, MINVFUNC = int8mi, MSTYPE = bigint, INITCOND = '0', MINITCOND = '0'
);

-- Views ---------------------------------------------------------------------------------------------------------------

CREATE VIEW finance.balances AS
SELECT a.id AS account_id, a.owner_email, a.currency, coalesce(sum(t.amount), 0) AS balance, count(t.id) AS transactions
FROM finance.accounts a LEFT JOIN finance.transactions t ON t.account_id = a.id AND t.status = 'booked'
GROUP BY a.id;
COMMENT ON VIEW finance.balances IS 'Booked transactions only';
COMMENT ON COLUMN finance.balances.balance IS 'In the account''s currency';
CREATE VIEW finance.poor_accounts WITH (security_barrier = true) AS SELECT * FROM finance.balances WHERE balance < 0;
CREATE VIEW finance.open_accounts AS SELECT id, owner_email, currency, opened_on FROM finance.accounts WHERE closed_on IS NULL
WITH LOCAL CHECK OPTION;
ALTER VIEW finance.open_accounts ALTER COLUMN opened_on SET DEFAULT '2026-01-01';
CREATE RECURSIVE VIEW finance.category_depth (id, depth) AS
SELECT id, 0 FROM finance.categories WHERE parent_id IS NULL
UNION ALL
SELECT c.id, d.depth + 1 FROM finance.categories c JOIN category_depth d ON c.parent_id = d.id;
CREATE VIEW "Rapports d'activité".constants (a, b, "c d") AS
SELECT 1, 'x'::text, NULL::date UNION ALL SELECT 2, E'y\\', '2024-01-01';
CREATE MATERIALIZED VIEW finance.monthly_totals AS
SELECT date_trunc('month', booked_on)::date AS month, currency, sum(amount) AS total, finance.product(exchange_rate ORDER BY id) IS NOT NULL AS rated
FROM finance.transactions GROUP BY 1, 2
WITH DATA;
CREATE UNIQUE INDEX monthly_totals_key ON finance.monthly_totals (month, currency);
COMMENT ON MATERIALIZED VIEW finance.monthly_totals IS 'Refreshed nightly';
CREATE MATERIALIZED VIEW finance.yearly_totals WITH (fillfactor = 50) AS
SELECT extract(year FROM month)::integer AS year, sum(total) AS total FROM finance.monthly_totals GROUP BY 1;
CREATE MATERIALIZED VIEW finance.never_filled AS SELECT * FROM finance.yearly_totals WITH NO DATA;

-- Functions and procedures ----------------------------------------------------------------------------------------------

CREATE FUNCTION finance.account_transactions(account bigint, since date DEFAULT '2024-01-01', "limit" integer DEFAULT 10)
    RETURNS TABLE (id bigint, booked_on date, amount numeric)
    LANGUAGE sql STABLE STRICT ROWS 10 COST 200 PARALLEL RESTRICTED AS $$
    SELECT t.id, t.booked_on, t.amount FROM finance.transactions t
    WHERE t.account_id = account AND t.booked_on >= since ORDER BY t.booked_at LIMIT "limit"
$$;
CREATE FUNCTION finance.accounts_of(email text) RETURNS SETOF finance.accounts
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = finance, extensions, pg_temp SET work_mem = '16MB' AS
    'SELECT * FROM accounts WHERE owner_email = email::citext';
CREATE FUNCTION finance.split(amount numeric, INOUT parts integer, OUT share numeric, OUT rest numeric)
    LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
    share := trunc(amount / parts, 2);
    rest := amount - share * parts;
END
$body$;
CREATE PROCEDURE finance.settle(INOUT settled bigint, up_to date DEFAULT '2024-02-01')
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE finance.transactions SET status = 'booked' WHERE status = 'pending' AND booked_on < up_to;
    GET DIAGNOSTICS settled = ROW_COUNT;
END
$$;

-- Triggers, rules and policies --------------------------------------------------------------------------------------------

CREATE FUNCTION audit.record_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO audit.changes (table_name, operation, old_row, new_row)
    VALUES (TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END
$$;
CREATE FUNCTION audit.record_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.changes (table_name, operation, row_count, changed_by)
    SELECT TG_TABLE_NAME, TG_OP, count(*), coalesce(TG_ARGV[0], '') FROM changed;
    RETURN NULL;
END
$$;
CREATE FUNCTION finance.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE FUNCTION finance.redirect_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO finance.accounts (owner_email, opened_on) VALUES (NEW.owner_email, NEW.opened_on);
    RETURN NEW;
END
$$;
CREATE TRIGGER record_row AFTER UPDATE OF credit_limit OR DELETE ON finance.accounts
    FOR EACH ROW EXECUTE FUNCTION audit.record_row();
CREATE TRIGGER "record statement" AFTER INSERT ON finance.categories
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.record_statement(E'it''s\\ \n odd', '2');
CREATE TRIGGER refuse_large AFTER UPDATE ON finance.transactions
    FOR EACH ROW WHEN (NEW.amount > 1e9 AND OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION finance.refuse();
COMMENT ON TRIGGER refuse_large ON finance.transactions IS 'Nobody is that rich';
ALTER TABLE finance.transactions_2025_03 DISABLE TRIGGER refuse_large;
CREATE CONSTRAINT TRIGGER check_later AFTER INSERT ON finance.budgets
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.planned > 1e12) EXECUTE FUNCTION finance.refuse();
CREATE TRIGGER never BEFORE TRUNCATE ON finance.categories FOR EACH STATEMENT EXECUTE FUNCTION finance.refuse();
CREATE TRIGGER off BEFORE INSERT ON finance.numbers FOR EACH ROW EXECUTE FUNCTION finance.refuse();
ALTER TABLE finance.numbers DISABLE TRIGGER off;
CREATE TRIGGER everywhere BEFORE DELETE ON finance.numbers FOR EACH ROW EXECUTE FUNCTION finance.refuse();
ALTER TABLE finance.numbers ENABLE ALWAYS TRIGGER everywhere;
CREATE TRIGGER redirect INSTEAD OF INSERT ON finance.balances FOR EACH ROW EXECUTE FUNCTION finance.redirect_insert();

CREATE RULE copy_notes AS ON INSERT TO audit.notes WHERE NEW.id > 1000
    DO ALSO INSERT INTO audit.changes (table_name, operation) VALUES ('audit.notes', 'rule');
CREATE RULE keep_notes AS ON DELETE TO audit.notes DO INSTEAD NOTHING;
ALTER TABLE audit.notes DISABLE RULE keep_notes;
COMMENT ON RULE copy_notes ON audit.notes IS 'From before there were triggers';
CREATE RULE update_constants AS ON UPDATE TO "Rapports d'activité".constants
    DO INSTEAD (UPDATE audit.notes SET body = NEW.b WHERE id = OLD.a; NOTIFY constants_changed);

ALTER TABLE finance.accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_accounts ON finance.accounts TO finance_app
    USING (owner_email = current_setting('finance.client', true)::extensions.citext);
CREATE POLICY open_only ON finance.accounts AS RESTRICTIVE FOR UPDATE TO finance_app, finance_reader
    USING (closed_on IS NULL) WITH CHECK (credit_limit < 1000000);
COMMENT ON POLICY open_only ON finance.accounts IS 'Closed accounts stay as they are';
ALTER TABLE audit.changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit.changes FORCE ROW LEVEL SECURITY;
CREATE POLICY append_only ON audit.changes FOR INSERT WITH CHECK (true);

-- Large objects -----------------------------------------------------------------------------------------------------------

SELECT lo_from_bytea(4242001, decode(repeat(md5('statement'), 20000), 'hex'));
SELECT lo_from_bytea(4242002, ''::bytea);
SELECT lo_put(lo_create(4242003), 100000, '\x00ff5c6e'::bytea);
UPDATE finance.documents SET content = 4242001 WHERE title = 'Statement';
COMMENT ON LARGE OBJECT 4242001 IS 'A scanned statement';
GRANT SELECT ON LARGE OBJECT 4242001 TO finance_reader;
ALTER LARGE OBJECT 4242003 OWNER TO finance_owner;

-- Owners and privileges -----------------------------------------------------------------------------------------------------

DO $$
DECLARE
    entry record;
BEGIN
    -- Partitions and sequences that belong to a table follow it or are named here like it.
    FOR entry IN
        SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
        WHERE c.relnamespace = 'finance'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            AND c.relname NOT IN ('numbers', 'moments', 'poor_accounts')
        ORDER BY c.oid
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO finance_owner',
            CASE entry.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, entry.name);
    END LOOP;
END $$;
ALTER SEQUENCE finance.countdown OWNER TO finance_owner;
ALTER TYPE finance.transaction_status OWNER TO finance_owner;
ALTER DOMAIN finance.positive OWNER TO finance_owner;
ALTER FUNCTION finance.split(numeric, integer) OWNER TO finance_owner;
ALTER PROCEDURE finance.settle(bigint, date) OWNER TO finance_owner;
ALTER AGGREGATE finance.product(numeric) OWNER TO finance_owner;
ALTER STATISTICS finance.account_values OWNER TO finance_owner;
ALTER SCHEMA audit OWNER TO finance_owner;

GRANT SELECT ON ALL TABLES IN SCHEMA finance TO finance_reader;
GRANT INSERT, UPDATE, DELETE ON finance.transactions, finance.accounts, finance.budgets TO finance_app;
GRANT SELECT (id, name), UPDATE (name) ON finance.categories TO finance_app WITH GRANT OPTION;
REVOKE SELECT ON finance.awkward_text FROM finance_reader;
GRANT ALL ON finance.import_staging TO PUBLIC;
REVOKE ALL ON finance.no_columns FROM finance_owner;
GRANT USAGE ON SEQUENCE finance.countdown TO finance_reader;
GRANT EXECUTE ON FUNCTION finance.accounts_of(text) TO finance_app;
REVOKE EXECUTE ON FUNCTION finance.accounts_of(text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE finance.settle(bigint, date) TO finance_app WITH GRANT OPTION;

RESET client_min_messages;
RESET timezone;
