#!/usr/bin/env python3
"""The limit: every table's rows through parallel COPY … TO STDOUT into nothing, large tables in ctid halves.

Run as a program with the number of sessions and a file for the figures; where the server is stands in PGKEEP_BENCH_URL.
"""

import json
import os
import pathlib
import queue
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from server import RECEIVE_BYTES, Server

# From this size on a table is drained in as many ranges of blocks as there are sessions.
LARGE_BLOCKS = 2048

TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    pg_relation_size(c.oid) / current_setting('block_size')::bigint,
    coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), ''),
    pg_table_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY 4 DESC, 1
"""


def pieces(table, blocks, fields, sessions):
    """The COPY statements that together give all rows of a table."""
    if blocks < LARGE_BLOCKS:
        return [f"COPY {table} TO STDOUT"]
    bounds = [blocks * i // sessions for i in range(sessions)]
    found = []
    for start, stop in zip(bounds, [*bounds[1:], None]):
        until = f" AND ctid < '({stop},0)'" if stop is not None else ""
        found.append(f"COPY (SELECT {fields} FROM ONLY {table} WHERE ctid >= '({start},0)'{until}) TO STDOUT")
    return found


def drain(server, database, sessions):
    """Drains a database; gives seconds, rows and bytes of COPY text."""
    started = time.perf_counter()
    with server.connect(database) as session:
        tables = session.query(TABLES)
    work = queue.SimpleQueue()
    for table, blocks, names, _ in tables:
        for statement in pieces(table, int(blocks), names, sessions):
            work.put(statement)
    totals = []

    def worker(_):
        buffer = bytearray(RECEIVE_BYTES)
        with server.connect(database) as session:
            session.query("SET search_path = ''; SET lc_monetary = 'C'")
            while True:
                try:
                    statement = work.get_nowait()
                except queue.Empty:
                    return
                totals.append(session.copy_out(statement, buffer))

    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(worker, range(sessions)))
    return {"seconds": time.perf_counter() - started, "rows": sum(r for r, _ in totals), "bytes": sum(b for _, b in totals),
            "tables": len(tables)}


def main():
    url = os.environ["PGKEEP_BENCH_URL"]
    database = urllib.parse.urlsplit(url).path.lstrip("/")
    figures = drain(Server(url), database, int(sys.argv[1]))
    pathlib.Path(sys.argv[2]).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
