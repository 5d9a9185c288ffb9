"""The data: made inside the server from row numbers, the same on every run.

Sizes are those of COPY text at scale 1; a database is named after its data set and size, so that several scales can live in one
cluster. Whatever changes here or in tests/sample/finance.sql makes kept data outdated: see `fingerprint`.
"""

import hashlib
import pathlib
from concurrent.futures import ThreadPoolExecutor

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
FINANCE = REPOSITORY / "tests/sample/finance.sql"
# What stands in finance.sql behind the rows: big tables are filled before it.
BEHIND_ROWS = "-- Constraints, statistics and options that come once there are rows -"

# One aggregate of the file's own, in SQL, would take more of a restore than all rows and indexes: its view is made with another.
SLOW, QUICK = "finance.product(exchange_rate ORDER BY id) IS NOT NULL", "bool_and(exchange_rate IS NOT NULL)"

MIB = 1 << 20
TRANSACTION_BYTES = 236
CHANGE_BYTES = 372
# The tables that carry the bytes: months of transactions, and what changed. Shares of the text.
MONTHS = {"2025-07-01": 0.10, "2025-08-01": 0.13, "2025-09-01": 0.17, "2025-10-01": 0.21, "2025-11-01": 0.24}
CHANGES = 0.15
SETTINGS = "SET client_min_messages = warning; SET timezone = 'UTC'; SET max_parallel_maintenance_workers = 1; SET maintenance_work_mem = '256MB';"


def fingerprint():
    """Changes with everything that the data derive from."""
    return hashlib.sha256(pathlib.Path(__file__).read_bytes() + FINANCE.read_bytes()).hexdigest()[:16]


class Data:
    """The databases of one server, each made when it is first asked for."""

    def __init__(self, server, scale, say, room):
        """`room` is told how many bytes are about to be written, and fails where there are not as many."""
        self._server, self._scale, self._say, self._room = server, scale, say, room

    def finance(self, gigabytes):
        return self._made(f"finance_{self._scaled(gigabytes * 1024)}mb", fill_finance, gigabytes * 1024, MIB)

    def big_table(self, gigabytes=4):
        return self._made(f"big_table_{self._scaled(gigabytes * 1024)}mb", fill_big_table, gigabytes * 1024, MIB)

    def small_tables(self, count=10_000):
        return self._made(f"small_tables_{self._scaled(count)}", fill_small_tables, count, 64 << 10)

    def wide_rows(self, gigabytes=1):
        return self._made(f"wide_rows_{self._scaled(gigabytes * 1024)}mb", fill_wide_rows, gigabytes * 1024, MIB)

    def large_objects(self, count=500_000):
        return self._made(f"large_objects_{self._scaled(count)}", fill_large_objects, count, 2 << 10)

    def _scaled(self, size):
        return max(1, round(size * self._scale))

    def _made(self, name, fill, size, unit):
        marked = f"SELECT 1 FROM pg_database WHERE datname = '{name}' AND NOT datistemplate"
        if self._server.query(marked):
            return name
        self._room(2 * self._scaled(size) * unit)
        self._say(f"making {name}")
        # Renamed when it is whole: one that was interrupted is made again.
        self._server.query(f"DROP DATABASE IF EXISTS unfinished_{name}")
        self._server.query(f"CREATE DATABASE unfinished_{name}")
        fill(self._server, f"unfinished_{name}", self._scaled(size))
        # Frozen and counted, so that the first reader pays for nothing and the second reads the same.
        self._server.query("VACUUM (FREEZE, ANALYZE)", f"unfinished_{name}")
        self._server.query("CHECKPOINT")
        self._server.query(f"ALTER DATABASE unfinished_{name} RENAME TO {name}")
        return name


def together(server, database, scripts):
    """Runs scripts in sessions side by side. Each writes tables of its own, so that their rows lie where they always do."""
    with ThreadPoolExecutor(len(scripts)) as pool:
        list(pool.map(lambda script: server.query(script, database), scripts))


def fill_finance(server, database, megabytes):
    """The sample application's 43 tables; five months and the audit trail carry the bytes."""
    before, mark, after = FINANCE.read_text().partition(BEHIND_ROWS)
    if not mark or after.count(SLOW) != 1:
        raise ValueError(f"{FINANCE} has changed: '{BEHIND_ROWS}' and '{SLOW}' are expected in it once")
    after = after.replace(SLOW, QUICK)
    total = megabytes * MIB
    # Accounts grow with the transactions: the file makes one for each 500 of its own.
    own = max(1000, total // TRANSACTION_BYTES // 20)
    server.query(f"SET pgkeep.sample_rows = '{own}'; {before}", database)
    first, calls = 10_000_000, []
    for month, share in MONTHS.items():
        rows = int(total * share / TRANSACTION_BYTES)
        calls.append(f"{SETTINGS} CALL finance.generate_transactions({first}, {rows}, '{month}', 30)")
        first += rows
    changes = f"{SETTINGS} {audit_changes(1001, 1000 + int(total * CHANGES / CHANGE_BYTES))}"
    together(server, database, [changes, calls[4], calls[0]])
    together(server, database, calls[1:4])
    server.query(SETTINGS + mark + after, database)


def audit_changes(first, last):
    """Appends to the audit trail; the bounds are SQL."""
    return f"""
        INSERT INTO audit.changes (table_name, operation, row_count, old_row, new_row)
        SELECT 'finance.transactions', (ARRAY['INSERT', 'UPDATE', 'DELETE'])[1 + i % 3], 1 + i % 7,
            jsonb_build_object('id', i, 'amount', finance.pick(i, 51, 2000000) / 100.0, 'status', 'pending', 'terminal', finance.pick(i, 52, 9999)),
            jsonb_build_object('id', i, 'amount', finance.pick(i, 53, 2000000) / 100.0, 'status', 'booked', 'terminal', finance.pick(i, 52, 9999),
                'memo', 'Étage ' || finance.pick(i, 54, 1000000) || ', bâtiment ' || finance.pick(i, 55, 40), 'reference', md5(i::text))
        FROM generate_series({first}, {last}) i"""


# The rows that a day of work updates: a tenth of the newest 2 % of the tables that carry the bytes.
UPDATED = {
    "finance.transactions": """booked_on BETWEEN '2025-11-01' AND '2025-11-30' AND id % 10 = 0
        AND id > (SELECT max(id) FROM finance.transactions) - (SELECT count(*) FROM finance.transactions) / 50""",
    "audit.changes": "id % 10 = 0 AND id > (SELECT max(id) - count(*) / 50 FROM audit.changes)",
}


def day_of_work(server, database):
    """1 % appended to the tables that carry the bytes, and a tenth of the newest 2 % of their rows updated."""
    server.query(f"""{SETTINGS}
        UPDATE finance.transactions SET status = 'booked', amount = amount + 1 WHERE {UPDATED['finance.transactions']};
        UPDATE audit.changes SET changed_by = 'reviewer' WHERE {UPDATED['audit.changes']};
        DO $$
        DECLARE
            next bigint := (SELECT max(id) + 1 FROM finance.transactions);
            total bigint := (SELECT count(*) FROM finance.transactions);
            changes bigint := (SELECT count(*) FROM audit.changes);
        BEGIN
            CALL finance.generate_transactions(next, total / 100, '2025-11-30', 1);
            {audit_changes('next', 'next + changes / 100 - 1')};
        END $$""", database)


def fill_big_table(server, database, megabytes):
    """One table of events, with a primary key and a second index."""
    rows = megabytes * MIB // 182
    server.query(f"""{SETTINGS}
        CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, account integer NOT NULL, kind text NOT NULL,
            amount numeric(12, 2), reference text NOT NULL, note text);
        INSERT INTO events
        SELECT i, timestamptz '2020-01-01' + i * interval '7.31 seconds', abs(hashint8(i)) % 50000,
            (ARRAY['login', 'transfer', 'card payment', 'direct debit', 'statement'])[1 + abs(hashint8(i + 1)) % 5],
            abs(hashint8(i + 2)) % 10000000 / 100.0, md5(i::text),
            CASE WHEN i % 4 > 0 THEN 'Payment № ' || abs(hashint8(i + 3)) % 100000 || ' to account ' || abs(hashint8(i + 4)) % 50000
                || ', reviewed by clerk ' || abs(hashint8(i + 5)) % 300 || '; no objection was raised' END
        FROM generate_series(1, {rows}) i;
        ALTER TABLE events ADD PRIMARY KEY (id);
        CREATE INDEX events_account ON events (account, at)""", database)


def fill_small_tables(server, database, count):
    """Tables of a handful of rows, each with its key and an index, in ten schemas."""
    server.query("; ".join(f"CREATE SCHEMA s{i}" for i in range(10)), database)
    server.query(f"""
        DO $$
        DECLARE
            i integer;
        BEGIN
            FOR i IN 1..{count} LOOP
                EXECUTE format('CREATE TABLE s%s.t%s (id integer PRIMARY KEY, name text NOT NULL, at timestamptz, amount numeric)', i % 10, i);
                EXECUTE format('INSERT INTO s%s.t%s SELECT n, ''row '' || n * %s, ''2025-01-01''::timestamptz + n * interval ''1 hour'', n * 1.25
                    FROM generate_series(1, %s) n', i % 10, i, i, 1 + i % 20);
                EXECUTE format('CREATE INDEX ON s%s.t%s (name)', i % 10, i);
                IF i % 500 = 0 THEN COMMIT; END IF;
            END LOOP;
        END $$""", database)


def fill_wide_rows(server, database, megabytes):
    """Rows of some 6 KB of JSON and bytea that hardly compress: digests in base64 and in binary."""
    server.query(f"""{SETTINGS}
        CREATE TABLE documents (id bigint PRIMARY KEY, body jsonb NOT NULL, scan bytea, thumbnail bytea, signature bytea,
            {', '.join(f'field_{n} text' for n in range(12))});
        ALTER TABLE documents ALTER COLUMN scan SET STORAGE EXTERNAL, ALTER COLUMN body SET STORAGE EXTERNAL;
        INSERT INTO documents
        SELECT i, jsonb_build_object('id', i, 'keys', (SELECT jsonb_agg(encode(sha256((i * 100 + n)::text::bytea), 'base64'))
                FROM generate_series(1, 40) n), 'share', hashint8(i) / 7.0),
            (SELECT string_agg(sha512((i * 1000 + n)::text::bytea), ''::bytea) FROM generate_series(1, 20) n),
            sha512(('t' || i)::bytea), sha256(('s' || i)::bytea),
            {', '.join(f"encode(sha256(('{n}/' || i)::bytea), 'base64')" for n in range(12))}
        FROM generate_series(1, {megabytes * MIB // 5480}) i""", database)


def fill_large_objects(server, database, count):
    """Large objects of 1 KB, and a table that names them."""
    server.query(f"""{SETTINGS}
        CREATE TABLE attachments (id integer PRIMARY KEY, content oid NOT NULL);
        INSERT INTO attachments
        SELECT i, lo_from_bytea((100000 + i)::oid,
            (SELECT string_agg(sha512((i * 20 + n)::text::bytea) || '{'0' * 64}', ''::bytea) FROM generate_series(1, 8) n))
        FROM generate_series(1, {count}) i""", database)
