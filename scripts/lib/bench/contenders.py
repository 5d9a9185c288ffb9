"""The commands that are measured: pgkeep, and what a user would otherwise run."""

import itertools
import json
import os
import pathlib
import secrets
import shutil
import sys

import measure

HERE = pathlib.Path(__file__).resolve().parent
LEFT_BYTES = 6 << 30
POLICY = """
[source]
kind = "postgres"
url = "${{PGKEEP_BENCH_URL}}"
jobs = {jobs}

[store]
url = "{store}"

[retention]
keep_last = 1500

[verify]
level = "presence"
scratch = "local"
"""


class Tools:
    """Where everything is: programs by PostgreSQL's major version, folders, and the environment of measured commands."""

    def __init__(self, binary, bins, work, jobs):
        self.binary, self.bins, self.work, self.jobs = pathlib.Path(binary), bins, pathlib.Path(work), jobs
        self._numbers, self._left = itertools.count(1), []
        self.temporary = self.work / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        # The throwaway server of a drill runs as another user.
        for folder in (self.work, self.temporary):
            folder.chmod(0o711)

    def folder(self, name):
        """A path of its own below the work folder; it does not exist yet."""
        return self.work / f"{name}-{next(self._numbers)}"

    def leave(self, path):
        """Removes what a command wrote, but not before the row ends or much lies there: ext4 without a journal makes no file in the place of one
        that was deleted within the last minute, and searches for another place, which the next command would pay for."""
        self._left.append((path, sum(size for size, _ in files_of(path).values())))
        if sum(size for _, size in self._left) > LEFT_BYTES:
            self.clear()

    def clear(self):
        """Removes what was left."""
        while self._left:
            remove(self._left.pop()[0])

    def environment(self, more):
        """Nothing of the caller's environment that could change a result, and `more`."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "CARGO_HOME", "RUSTUP_HOME")}
        return kept | {"TMPDIR": str(self.temporary), "PGKEEP_PG_BIN": ":".join(self.bins.values())} | more

    def program(self, major, name):
        return f"{self.bins[major]}/{name}"


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files_of(path):
    """What a command wrote, a folder or one file: path → (size, version)."""
    return measure.inventory(path) if path.is_dir() else {path.name: (path.stat().st_size, 0)}


def settle():
    """Lets nothing that an earlier command left to the disk slow the next one down."""
    os.sync()


class Vault:
    """pgkeep with a policy of its own for one store."""

    def __init__(self, tools, server, database, store=None, extra=None):
        """In a new folder, unless `store` names a folder or a URL. `extra` is added to the environment of its commands."""
        self.tools, self.server, self.database = tools, server, database
        self.path = None if isinstance(store, str) else store or tools.folder("vault")
        self.store = store if isinstance(store, str) else f"file://{self.path}"
        self._extra = extra or {}
        self._policies = tools.folder("policies")
        self._policies.mkdir()
        (self._policies / "bench.toml").write_text(POLICY.format(jobs=tools.jobs, store=self.store))

    def run(self, *arguments, environment=None):
        """Runs pgkeep; gives the Sample and the result document."""
        more = {"PGKEEP_POLICIES": str(self._policies), "PGKEEP_BENCH_URL": self.server.url(self.database)}
        command = [self.tools.binary, *arguments, "--json", "--progress", "never", "--quiet"]
        sample, output = measure.run(command, self.tools.environment(more | self._extra | (environment or {})))
        return sample, json.loads(output)["result"]

    def backup(self):
        """A backup; what it wrote is counted in the store's folder, not taken from its word."""
        before = measure.inventory(self.path) if self.path else {}
        settle()
        sample, result = self.run("backup", "bench")
        if self.path:
            sample.written, sample.objects = measure.written(before, measure.inventory(self.path))
        else:
            sample.written = result["counts"]["new_stored_bytes"]
        sample.details = {"counts": result["counts"], "requests": result["requests"]}
        return sample

    def restore(self):
        """A restore into a database that it makes, dropped afterwards."""
        with fresh_database(self.server, made=False) as name:
            environment = {"PGKEEP_BENCH_TARGET": self.server.url(name)}
            to = ("--to", "env:PGKEEP_BENCH_TARGET", "--jobs", str(self.tools.jobs), "--yes")
            sample, result = self.run("restore", "bench", *to, environment=environment)
        if not result["complete"]:
            raise measure.CommandFailed(["pgkeep", "restore"], 0, json.dumps(result["databases"]))
        sample.details = {"phases": [d["phases"] for d in result["databases"]]}
        return sample

    def verify(self, level):
        settle()
        sample, result = self.run("verify", "bench", "--level", level)
        if not all(proof["passed"] for proof in result["proofs"]):
            raise measure.CommandFailed(["pgkeep", "verify"], 0, json.dumps(result["proofs"]))
        sample.details = {"proofs": [proof["details"] for proof in result["proofs"]]}
        return sample

    def copy(self):
        """Another vault with the same content. Files are never changed in place, so links are as good as copies."""
        path = self.tools.folder("vault")
        shutil.copytree(self.path, path, copy_function=os.link)
        return Vault(self.tools, self.server, self.database, path)

    def remove(self):
        remove(self._policies)
        if self.path:
            self.tools.leave(self.path)


class fresh_database:  # noqa: N801 - used as a function
    """The name of a database for a restore; dropped at the end, so that each restore finds the same server."""

    numbers = itertools.count(1)

    def __init__(self, server, made):
        self._server, self._made, self._name = server, made, f"restored_{next(self.numbers)}"

    def __enter__(self):
        self._drop()
        if self._made:
            self._server.query(f"CREATE DATABASE {self._name}")
        self._server.query("CHECKPOINT")
        settle()
        return self._name

    def __exit__(self, *_):
        self._drop()

    def _drop(self):
        self._server.query(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")


class Rivals:
    """What pgkeep is compared with, on one server."""

    def __init__(self, tools, server, major=17):
        self.tools, self.server, self.major = tools, server, major

    def _run(self, command, database=None, more=None):
        environment = self.tools.environment(self.server.environment(database) | (more or {}))
        return measure.run(command, environment, self.tools.temporary)

    def pipeline(self, command, database, more=None):
        """A command line of the shell, as a user would type it; its peak is not that of one process, so none is given."""
        sample, _ = self._run(["bash", "-euo", "pipefail", "-c", command], database, more)
        sample.peak = 0
        return sample

    def dump_directory(self, database, compression, keep=None, options=()):
        """pg_dump -Fd -jN; `keep` names the folder of a dump that stays."""
        folder = keep or self.tools.folder("dump")
        settle()
        sample, _ = self._run([self.tools.program(self.major, "pg_dump"), "-Fd", f"-j{self.tools.jobs}",
                               f"--compress={compression}", *options, "-f", folder, database])
        sample.peak = 0
        return self._weighed(sample, folder, keep)

    def dump_custom(self, database):
        """pg_dump -Fc, gzip as it comes."""
        file = self.tools.folder("dump")
        settle()
        sample, _ = self._run([self.tools.program(self.major, "pg_dump"), "-Fc", "-f", file, database])
        return self._weighed(sample, file, None)

    def dump_pipe(self, database, options):
        """pg_dump | zstd."""
        file = self.tools.folder("dump")
        settle()
        sample = self.pipeline(f"{self.tools.program(self.major, 'pg_dump')} | zstd --quiet {options} >'{file}'", database)
        return self._weighed(sample, file, None)

    def restore(self, folder, analyze=False):
        """createdb and pg_restore -jN; `analyze`: also vacuumdb --analyze-only -jN, without which the planner knows nothing of the tables."""
        with fresh_database(self.server, made=False) as name:
            createdb, pg_restore, vacuumdb = (self.tools.program(self.major, name) for name in ("createdb", "pg_restore", "vacuumdb"))
            command = f"{createdb} {name} && {pg_restore} -j{self.tools.jobs} -d {name} '{folder}'"
            if analyze:
                command += f" && {vacuumdb} --analyze-only --quiet -j{self.tools.jobs} {name}"
            return self.pipeline(command, "postgres")

    def restic(self, database, repository):
        """pg_dump | restic backup --stdin into a repository that exists."""
        before = measure.inventory(repository)
        settle()
        dump = f"{self.tools.program(self.major, 'pg_dump')} | restic backup --quiet --stdin --stdin-filename dump.sql"
        sample = self.pipeline(dump, database, restic_environment(self.tools, repository))
        sample.written, sample.objects = measure.written(before, measure.inventory(repository))
        return sample

    def new_restic_repository(self, database):
        repository = self.tools.folder("restic")
        measure.quietly(["restic", "init", "--quiet"], self.tools.environment(restic_environment(self.tools, repository)))
        self.restic(database, repository)
        return repository

    def pgcopydb(self, database):
        """pgcopydb clone: from server to server, without anything kept in between."""
        with fresh_database(self.server, made=True) as name:
            folder = self.tools.folder("pgcopydb")
            uri = f"host={self.server.host} port={self.server.port} user={self.server.user} dbname="
            more = {"PGCOPYDB_SOURCE_PGURI": uri + database, "PGCOPYDB_TARGET_PGURI": uri + name,
                    "PATH": f"{self.tools.bins[self.major]}:{os.environ['PATH']}"}
            try:
                jobs = str(self.tools.jobs)
                return self._run(["pgcopydb", "clone", "--dir", folder, "--table-jobs", jobs, "--index-jobs", jobs], None, more)[0]
            finally:
                remove(folder)

    def drain(self, database):
        """The limit; see drain.py."""
        figures = self.tools.folder("drain")
        more = {"PGKEEP_BENCH_URL": self.server.url(database)}
        sample, _ = self._run([sys.executable, "-B", HERE / "drain.py", str(self.tools.jobs), figures], None, more)
        sample.details = json.loads(figures.read_text())
        # The interpreter's start is none of the server's limit.
        sample.seconds, sample.peak = sample.details["seconds"], 0
        remove(figures)
        return sample

    def _weighed(self, sample, path, keep):
        sample.written, sample.objects = measure.written({}, files_of(path))
        if not keep:
            self.tools.leave(path)
        return sample


RESTIC_PASSWORD = secrets.token_hex(16)


def restic_environment(tools, repository):
    return {"RESTIC_REPOSITORY": str(repository), "RESTIC_PASSWORD": RESTIC_PASSWORD, "RESTIC_CACHE_DIR": str(tools.work / "restic-cache")}
