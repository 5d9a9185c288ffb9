"""The rows of the benchmark: what is measured against what, and the goals."""

import dataclasses
import os
import pathlib
import shutil

import changes
import datasets
import endpoint
import measure
from contenders import Vault
from figures import Result, absolute, fastest, grouped, ratio, single

DUMP = "pg_dump -Fd zstd:1"
MEMORY = 128 << 20
ROWS = {}


@dataclasses.dataclass
class Row:
    """A row: its name, one line on it, whether --quick runs it, and whether it runs only when it is named."""

    name: str
    about: str
    measure: object
    quick: bool
    named_only: bool


def row(name, about, quick=False, named_only=False):
    def register(function):
        ROWS[name] = Row(name, about, function, quick, named_only)
        return function
    return register


def interleaved(repeat, contenders):
    """Runs the contenders in turn, `repeat` times, in the other order every second time: name → samples."""
    samples = {name: [] for name in contenders}
    for i in range(repeat):
        for name, run in list(contenders.items())[::-1 if i % 2 else 1]:
            samples[name].append(run())
    return samples


def backup_into_new(run, server, database):
    """A contender: the first backup of a database, into a vault of its own."""
    def once():
        vault = Vault(run.tools, server, database)
        try:
            return vault.backup()
        finally:
            vault.remove()
    return once


def titled(what, samples):
    """Says how much text there was, if it was drained."""
    drained = samples.get("limit (drain)")
    if not drained:
        return what
    details = drained[0].details
    return (f"{what}: {grouped(round(details['bytes'] / 1e6))} MB of COPY text, {grouped(details['rows'])} rows,"
            f" {grouped(details['tables'])} tables")


def full(run, name, database, title, more=()):
    """A full backup against pg_dump -Fd and the limit; the goals are those of mixed data."""
    server, rivals = run.server(), run.rivals()
    contenders = {
        "pgkeep": backup_into_new(run, server, database),
        DUMP: lambda: rivals.dump_directory(database, "zstd:1"),
        **{f"pg_dump -Fd {c}": (lambda c=c: rivals.dump_directory(database, c)) for c in more},
        "limit (drain)": lambda: rivals.drain(database),
    }
    rivals.drain(database)
    samples = interleaved(run.repeat, contenders)
    return Result(name, titled(title, samples), samples)


def goals_of_mixed_data(result):
    ours, dump = result.samples["pgkeep"], result.samples[DUMP]
    result.checks += [
        ratio(f"time / {DUMP}", ours, dump, "seconds", 1.05),
        ratio(f"bytes / {DUMP}", ours, dump, "written", 1.0),
        ratio(f"client CPU / {DUMP}", ours, dump, "cpu", 1.35),
        absolute("peak memory", ours, "peak", MEMORY, "MiB"),
        ratio("time / limit (drain)", ours, result.samples["limit (drain)"], "seconds"),
    ]
    others = [name for name in result.samples if name not in ("pgkeep", DUMP, "limit (drain)")]
    result.checks += [ratio(f"time / {other}", ours, result.samples[other], "seconds") for other in others]
    return result


@row("full", "full backup of finance, 1 GB, against pg_dump -Fd -j2 of 17", quick=True)
def full_1(run):
    more = () if run.quick else ("zstd:3", "lz4")
    return goals_of_mixed_data(full(run, "full", run.data().finance(1), f"full backup, finance {run.size(1)}", more))


@row("full-2g", "the same at 2 GB")
def full_2(run):
    return goals_of_mixed_data(full(run, "full-2g", run.data().finance(2), f"full backup, finance {run.size(2)}"))


@row("full-8g", "the same at 8 GB")
def full_8(run):
    return goals_of_mixed_data(full(run, "full-8g", run.data().finance(8), f"full backup, finance {run.size(8)}"))


@row("fc15", "full backup of finance, 1 GB, against pg_dump -Fc of 15, on 15")
def against_custom_of_15(run):
    server, rivals, database = run.server(15), run.rivals(15), run.data(15).finance(1)
    rivals.drain(database)
    samples = interleaved(run.repeat, {
        "pgkeep": backup_into_new(run, server, database),
        "pg_dump -Fc of 15": lambda: rivals.dump_custom(database),
    })
    check = ratio("time / pg_dump -Fc of 15", samples["pgkeep"], samples["pg_dump -Fc of 15"], "seconds", 0.18)
    return Result("fc15", f"full backup on PostgreSQL 15, finance {run.size(1)}", samples, [check])


@row("pipe", "full backup of finance, 1 GB, against pg_dump | zstd")
def against_pipe(run):
    server, rivals, database = run.server(), run.rivals(), run.data().finance(1)
    rivals.drain(database)
    samples = interleaved(run.repeat, {
        "pgkeep": backup_into_new(run, server, database),
        "pg_dump | zstd -1": lambda: rivals.dump_pipe(database, "-1"),
        "pg_dump | zstd -3": lambda: rivals.dump_pipe(database, "-3"),
    })
    checks = [ratio(f"time / {other}", samples["pgkeep"], samples[other], "seconds") for other in list(samples)[1:]]
    return Result("pipe", f"full backup, finance {run.size(1)}", samples, checks)


@row("big-table", "full backup of one table of 4 GB against the best rival")
def big_table(run):
    server, rivals, database = run.server(), run.rivals(), run.data().big_table()
    rivals.drain(database)
    samples = interleaved(run.repeat, {
        "pgkeep": backup_into_new(run, server, database),
        DUMP: lambda: rivals.dump_directory(database, "zstd:1"),
        "pg_dump -Fd lz4": lambda: rivals.dump_directory(database, "lz4"),
        "pg_dump | zstd -1": lambda: rivals.dump_pipe(database, "-1"),
        "limit (drain)": lambda: rivals.drain(database),
    })
    best = fastest({k: v for k, v in samples.items() if k.startswith("pg_dump")})
    checks = [
        ratio(f"time / best rival ({best})", samples["pgkeep"], samples[best], "seconds", 0.55),
        ratio("time / limit (drain)", samples["pgkeep"], samples["limit (drain)"], "seconds"),
        ratio(f"bytes / {DUMP}", samples["pgkeep"], samples[DUMP], "written"),
        absolute("peak memory", samples["pgkeep"], "peak", MEMORY, "MiB"),
    ]
    return Result("big-table", titled(f"full backup, one table of {run.size(4)}", samples), samples, checks)


@row("small-tables", "full backup of 10,000 small tables", quick=True)
def small_tables(run):
    result = full(run, "small-tables", run.data().small_tables(), "full backup, small tables")
    ours = result.samples["pgkeep"]
    result.checks += [
        ratio(f"time / {DUMP}", ours, result.samples[DUMP], "seconds", 0.6),
        absolute("files written", ours, "objects", 300, "count", below=True),
        absolute("peak memory", ours, "peak", MEMORY, "MiB"),
    ]
    return result


def without_goal(result, rival):
    ours, dump = result.samples["pgkeep"], result.samples[rival]
    result.checks += [ratio(f"{field} / {rival}", ours, dump, attribute)
                      for field, attribute in (("time", "seconds"), ("bytes", "written"), ("client CPU", "cpu"))]
    result.checks.append(absolute("peak memory", ours, "peak", MEMORY, "MiB"))
    return result


@row("wide-rows", "full backup of 1 GB of wide rows that hardly compress")
def wide_rows(run):
    return without_goal(full(run, "wide-rows", run.data().wide_rows(), f"full backup, wide rows {run.size(1)}"), DUMP)


# In the directory format every large object is a file that pg_dump syncs: without that it is spared many minutes.
UNSYNCED = ("--no-sync",)


@row("large-objects", "full backup of 500,000 large objects of 1 KB")
def large_objects(run):
    server, rivals, database = run.server(), run.rivals(), run.data().large_objects()
    rival = f"{DUMP} --no-sync"
    samples = interleaved(run.repeat, {
        "pgkeep": backup_into_new(run, server, database),
        rival: lambda: rivals.dump_directory(database, "zstd:1", options=UNSYNCED),
    })
    return without_goal(Result("large-objects", "full backup, large objects of 1 KB", samples), rival)


@row("large-objects-restore", "restore of them")
def large_objects_restore(run):
    result = restores(run, "large-objects-restore", run.data().large_objects(), "restore, large objects of 1 KB", None, UNSYNCED)
    result.checks.append(absolute("peak memory", result.samples["pgkeep"], "peak", MEMORY, "MiB"))
    return result


@row("second", "second backup of finance, 1 GB, nothing changed", quick=True)
def second(run):
    server, rivals, database = run.server(), run.rivals(), run.data().finance(1)
    vault = Vault(run.tools, server, database)
    first = vault.backup()
    samples = interleaved(run.repeat, {
        "pgkeep": vault.backup,
        DUMP: lambda: rivals.dump_directory(database, "zstd:1"),
        "limit (drain)": lambda: rivals.drain(database),
    })
    vault.remove()
    ours = samples["pgkeep"]
    checks = [
        ratio("time / limit (drain)", ours, samples["limit (drain)"], "seconds", 1.1),
        ratio(f"time / full {DUMP}", ours, samples[DUMP], "seconds", 1.0, below=True),
        # Table of contents, head and run record grow with the number of objects, not with the rows: of small data they are a larger share.
        ratio("bytes / first backup's", ours, [first] * run.repeat, "written", 0.001 if run.scale >= 1 else None, below=True),
    ]
    return Result("second", titled(f"second backup, nothing changed, finance {run.size(1)}", samples), samples, checks)


@row("day", "second backup of finance, 1 GB, after a day of work", quick=True)
def after_a_day(run):
    server, rivals, database = run.server(), run.rivals(), run.data().finance(1)
    server.query("DROP DATABASE IF EXISTS day_of_work WITH (FORCE)")
    server.query(f"CREATE DATABASE day_of_work TEMPLATE {database}")
    base = Vault(run.tools, server, "day_of_work")
    base.backup()
    repository = None if run.quick else rivals.new_restic_repository("day_of_work")
    first_transaction = int(server.query("SELECT pg_current_xact_id()::text")[0][0])
    datasets.day_of_work(server, "day_of_work")
    # As autovacuum would have done by the night: else the first reader pays for hint bits.
    server.query("VACUUM ANALYZE", "day_of_work")
    server.query("CHECKPOINT")

    def ours():
        vault = base.copy()
        try:
            return vault.backup()
        finally:
            vault.remove()

    def restic():
        copy = run.tools.folder("restic")
        shutil.copytree(repository, copy, copy_function=os.link)
        try:
            return rivals.restic("day_of_work", copy)
        finally:
            shutil.rmtree(copy)

    contenders = {"pgkeep": ours, DUMP: lambda: rivals.dump_directory("day_of_work", "zstd:1")}
    if repository:
        contenders["pg_dump | restic"] = restic
    contenders["limit (drain)"] = lambda: rivals.drain("day_of_work")
    samples = interleaved(run.repeat, contenders)
    spread = changes.measure_spread(run.tools, server, database, "day_of_work", first_transaction)
    server.query("DROP DATABASE day_of_work WITH (FORCE)")
    base.remove()
    checks = [
        ratio(f"time / full {DUMP}", samples["pgkeep"], samples[DUMP], "seconds", 1.0),
        single("bytes / compressed pieces that changed", samples["pgkeep"][0].written / spread.compressed, 1.5, "ratio"),
        ratio("time / limit (drain)", samples["pgkeep"], samples["limit (drain)"], "seconds"),
    ]
    if repository:
        shutil.rmtree(repository)
        checks += [ratio(f"{what} / pg_dump | restic", samples["pgkeep"], samples["pg_dump | restic"], field)
                   for what, field in (("time", "seconds"), ("bytes", "written"))]
    return Result("day", titled(f"second backup after a day of work, finance {run.size(1)}", samples), samples, checks, [spread.note()])


def database_bytes(server, database):
    return int(server.query(f"SELECT pg_database_size('{database}')")[0][0])


def restores(run, name, database, title, goal, dump_options=()):
    """A restore against pg_restore -j2, with and without the statistics that pgkeep gathers too, each into a new database."""
    server, rivals = run.server(), run.rivals()
    run.room(database_bytes(server, database) * 3 // 2)
    vault, dump = Vault(run.tools, server, database), run.tools.folder("dump")
    vault.backup()
    rivals.dump_directory(database, "zstd:1", dump, dump_options)
    samples = interleaved(run.repeat, {"pgkeep": vault.restore, "pg_restore": lambda: rivals.restore(dump),
                                       "pg_restore, vacuumdb -Z": lambda: rivals.restore(dump, analyze=True)})
    shutil.rmtree(dump)
    vault.remove()
    checks = [ratio("time / pg_restore", samples["pgkeep"], samples["pg_restore"], "seconds", goal),
              ratio("time / pg_restore, vacuumdb -Z", samples["pgkeep"], samples["pg_restore, vacuumdb -Z"], "seconds"),
              ratio("client CPU / pg_restore", samples["pgkeep"], samples["pg_restore"], "cpu")]
    return Result(name, title, samples, checks)


@row("restore", "restore of finance, 1 GB, against pg_restore -j2", quick=True)
def restore(run):
    result = restores(run, "restore", run.data().finance(1), f"restore, finance {run.size(1)}, indexes and foreign keys included", 0.75)
    result.checks.append(absolute("peak memory", result.samples["pgkeep"], "peak", MEMORY, "MiB"))
    return result


@row("restore-big", "restore of one table of 4 GB against pg_restore -j2")
def restore_big(run):
    return restores(run, "restore-big", run.data().big_table(), f"restore, one table of {run.size(4)}, two indexes", 0.6)


@row("drill", "restore drill of finance, 1 GB, against the restore alone")
def drill(run):
    server, database = run.server(), run.data().finance(1)
    vault = Vault(run.tools, server, database)
    vault.backup()
    samples = interleaved(run.repeat, {"pgkeep verify --level restore": lambda: vault.verify("restore"),
                                       "pgkeep restore": vault.restore})
    vault.remove()
    drills = samples["pgkeep verify --level restore"]
    databases = [d for s in drills for proof in s.details["proofs"] for d in proof["databases"]]
    inside = [f"{key.split('_')[0]} {min(d[key] for d in databases):.1f}–{max(d[key] for d in databases):.1f} s"
              for key in ("restore_seconds", "compare_seconds")]
    checks = [ratio("time / restore alone", drills, samples["pgkeep restore"], "seconds", 1.25),
              absolute("peak memory", drills, "peak", MEMORY, "MiB")]
    return Result("drill", f"restore drill, finance {run.size(1)}", samples, checks, [f"of the drill: {', '.join(inside)}"])


@row("memory", "peak memory of backup, restore and drill at 1 GB and at 8 GB")
def memory(run):
    server, samples = run.server(), {}
    for gigabytes in (1, 8):
        database = run.data().finance(gigabytes)
        run.room(database_bytes(server, database) * 3 // 2)
        vault = Vault(run.tools, server, database)
        first = vault.backup()
        # A peak is that of the highest moment: eight runs on a GB have as many moments as one on eight.
        times = 8 // gigabytes
        again = backup_into_new(run, server, database)
        samples[f"backup of {run.size(gigabytes)}"] = [first, *(again() for _ in range(times - 1))]
        samples[f"restore of {run.size(gigabytes)}"] = [vault.restore() for _ in range(times)]
        samples[f"drill of {run.size(gigabytes)}"] = [vault.verify("restore") for _ in range(times)]
        vault.remove()
    checks = []
    for what in ("backup", "restore", "drill"):
        small, large = (samples[f"{what} of {run.size(g)}"] for g in (1, 8))
        checks.append(absolute(f"peak of {what}, {run.size(8)}", large, "peak", MEMORY, "MiB"))
        growth = max(s.peak for s in large) / max(s.peak for s in small)
        # "The same": what jitter of an allocator and of timing makes is no growth.
        checks.append(single(f"peak of {what}, {run.size(8)} / {run.size(1)}", growth, 1.1, "ratio"))
    return Result("memory", "peak memory, finance", samples, checks)


@row("s3", "full backup of finance, 1 GB, into S3 with 20 ms a request, against a folder", quick=True)
def s3(run):
    server, database = run.server(), run.data().finance(1)
    program, counts = run.example("s3_endpoint"), []

    def into_s3():
        with endpoint.Endpoint(program, run.tools, latency_ms=20) as s3_server:
            vault = Vault(run.tools, server, database, "s3://bench/store", s3_server.environment())
            sample = vault.backup()
            vault.remove()
            counts.append(s3_server.counts())
            return sample

    run.rivals().drain(database)
    samples = interleaved(run.repeat, {"pgkeep, S3 with 20 ms": into_s3, "pgkeep, folder": backup_into_new(run, server, database)})
    checks = [ratio("time / folder", samples["pgkeep, S3 with 20 ms"], samples["pgkeep, folder"], "seconds", 1.2)]
    requests = ", ".join(f"{name} {count}" for name, count in sorted(counts[-1].items()))
    return Result("s3", f"full backup into S3, finance {run.size(1)}", samples, checks, [f"requests: {requests}"])


@row("s3-read", "restore and content verification of finance, 1 GB, out of S3 with 20 ms a request, against a folder")
def s3_read(run):
    server, database = run.server(), run.data().finance(1)
    folder = Vault(run.tools, server, database)
    folder.backup()
    with endpoint.Endpoint(run.example("s3_endpoint"), run.tools, latency_ms=20) as s3_server:
        bucket = Vault(run.tools, server, database, "s3://bench/store", s3_server.environment())
        bucket.backup()
        samples = interleaved(run.repeat, {
            "restore, S3": bucket.restore, "restore, folder": folder.restore,
            "verify content, S3": lambda: bucket.verify("content"), "verify content, folder": lambda: folder.verify("content"),
        })
        bucket.remove()
    folder.remove()
    checks = [ratio(f"time of {what} / folder", samples[f"{what}, S3"], samples[f"{what}, folder"], "seconds")
              for what in ("restore", "verify content")]
    return Result("s3-read", f"reading from S3 with 20 ms a request, finance {run.size(1)}", samples, checks)


@row("history", "list and prune --plan with 2,000 backups and 200,000 parts")
def history(run):
    vault = Vault(run.tools, run.server(), "postgres")
    backups = max(20, round(2000 * run.scale))
    measure.quietly([run.example("big_vault"), vault.store, "bench", str(backups)], run.tools.environment({}))
    samples = interleaved(run.repeat, {
        "list": lambda: vault.run("list", "bench")[0],
        "prune --plan": lambda: vault.run("prune", "bench", "--plan")[0],
        "status": lambda: vault.run("status", "bench")[0],
    })
    files = len(measure.inventory(vault.path))
    vault.remove()
    checks = [
        absolute("list", samples["list"], "seconds", 1.0, below=True),
        absolute("prune --plan", samples["prune --plan"], "seconds", 5.0, below=True),
        absolute("peak memory of prune --plan", samples["prune --plan"], "peak", None, "MiB"),
    ]
    return Result("history", f"a vault of {backups} backups, {files} files", samples, checks)


@row("pgcopydb", "pgcopydb clone of one table of 4 GB, from server to server, against backup and restore")
def pgcopydb(run):
    # Of one table, because Debian's pgcopydb cannot quote all the names of the finance sample.
    server, rivals, database = run.server(), run.rivals(), run.data().big_table()

    def ours():
        vault = Vault(run.tools, server, database)
        try:
            backup, back = vault.backup(), vault.restore()
        finally:
            vault.remove()
        return dataclasses.replace(back, seconds=backup.seconds + back.seconds, cpu=backup.cpu + back.cpu,
                                   peak=max(backup.peak, back.peak))

    samples = interleaved(run.repeat, {"pgkeep backup, restore": ours, "pgcopydb clone": lambda: rivals.pgcopydb(database)})
    checks = [ratio("time / pgcopydb clone", samples["pgkeep backup, restore"], samples["pgcopydb clone"], "seconds")]
    return Result("pgcopydb", f"from server to server, one table of {run.size(4)}", samples, checks)


@row("help", "pgkeep --help", quick=True)
def start_up(run):
    runs = 10 * run.repeat
    samples = [measure.run([run.tools.binary, "--help"], run.tools.environment({}))[0] for _ in range(runs)]
    return Result("help", "start-up", {"pgkeep --help": samples}, [absolute("pgkeep --help", samples, "seconds", 0.020, "ms", below=True)])


@row("binary", "size of the release binary", quick=True)
def binary(run):
    return Result("binary", "release binary", {}, [single("size", pathlib.Path(run.tools.binary).stat().st_size, 40e6, "MB", below=True)])


@row("build", "clean release build; minutes, only with --build or by name", named_only=True)
def build(run):
    target = run.tools.folder("target")
    measure.quietly(["cargo", "fetch", "--locked", "--quiet", "--manifest-path", datasets.REPOSITORY / "Cargo.toml"], run.tools.environment({}))
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--bin", "pgkeep", "--manifest-path", datasets.REPOSITORY / "Cargo.toml"]
    sample, _ = measure.run(command, run.tools.environment({"CARGO_TARGET_DIR": str(target)}))
    shutil.rmtree(target)
    sample.peak = 0
    return Result("build", f"clean release build on {os.cpu_count()} processors", {"cargo build --release": [sample]},
                  [absolute("time", [sample], "seconds", 600, below=True)])
