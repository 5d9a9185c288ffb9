"""How far a day of work spreads: which pieces of the tables really changed, found without pgkeep.

A piece is 4 MiB of a table's heap (512 blocks), about as much as the text of one of pgkeep's parts. It changed when a row in it was
inserted, updated or moved away. Its size is that of its rows as COPY text, compressed on its own by zstd -1.
"""

import dataclasses

import datasets
import measure
from figures import grouped

PIECE_BLOCKS = 512
PLACES = f"(ctid::text::point)[0]::bigint / {PIECE_BLOCKS}"


@dataclasses.dataclass
class Spread:
    """What changed."""

    pieces: int
    all_pieces: int
    rows: int
    all_rows: int
    compressed: int
    rows_compressed: int

    def note(self):
        return (f"{grouped(self.rows)} of {grouped(self.all_rows)} rows are new or updated ({self.rows / self.all_rows:.2%},"
                f" {self.rows_compressed / 1e6:.1f} MB on their own); they lie in, or left, {self.pieces} of {self.all_pieces} pieces of 4 MiB of heap"
                f" ({self.pieces / self.all_pieces:.2%}, {self.compressed / 1e6:.1f} MB by zstd -1)")


def measure_spread(tools, server, before, after, first_transaction):
    """Compares `after`, a copy of `before` in which transactions from `first_transaction` on have worked since."""
    leaves = [row[0] for row in server.query("SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'r' AND relnamespace::regnamespace::text"
                                             " IN ('finance', 'audit')", after)]
    changed = f"xmin::text::bigint >= {first_transaction}"
    pieces, rows, compressed, rows_compressed, total = 0, 0, 0, 0, 0
    left = places_left(server, before)
    for leaf in leaves:
        found = server.query(f"SELECT {PLACES}, count(*) FROM ONLY {leaf} WHERE {changed} GROUP BY 1", after)
        touched = sorted({int(place) for place, _ in found} | left.get(leaf, set()))
        pieces += len(touched)
        rows += sum(int(count) for _, count in found)
        total += int(server.query(f"SELECT count(*) FROM ONLY {leaf}", after)[0][0])
        for place in touched:
            start, stop = place * PIECE_BLOCKS, (place + 1) * PIECE_BLOCKS
            compressed += zstd_size(tools, server, after, f"SELECT * FROM ONLY {leaf} WHERE ctid >= '({start},0)' AND ctid < '({stop},0)'")
        if found:
            rows_compressed += zstd_size(tools, server, after, f"SELECT * FROM ONLY {leaf} WHERE {changed}")
    sizes = server.query(f"""SELECT sum((pg_relation_size(c.oid) / 8192 + {PIECE_BLOCKS - 1}) / {PIECE_BLOCKS}) FROM pg_class c
        WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('finance', 'audit')""", after)
    return Spread(pieces, int(sizes[0][0]), rows, total, compressed, rows_compressed)


def places_left(server, before):
    """Table → the pieces in which rows stood that the day updated: asked of the copy that knows no such day."""
    found = {}
    for table, condition in datasets.UPDATED.items():
        for leaf, place in server.query(f"SELECT DISTINCT tableoid::regclass, {PLACES} FROM {table} WHERE {condition}", before):
            found.setdefault(leaf, set()).add(int(place))
    return found


def zstd_size(tools, server, database, select):
    command = f"""{tools.program(17, "psql")} --no-psqlrc --quiet --command="COPY ({select}) TO STDOUT" | zstd -1 --quiet | wc --bytes"""
    return int(measure.quietly(["bash", "-euo", "pipefail", "-c", command], tools.environment(server.environment(database))))
