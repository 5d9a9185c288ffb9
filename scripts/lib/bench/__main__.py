"""scripts/bench, once its programs are installed: arguments, servers, rows, the table. See scripts/bench --help."""

import argparse
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

import datasets
from contenders import Rivals, Tools
from figures import markdown, render, summary
from measure import CommandFailed, quietly
from rows import ROWS
from server import Server, ServerError

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
# WAL between checkpoints, and what nobody should have to do without.
RESERVE_BYTES = 8 << 30
QUICK_SCALE, QUICK_REPEAT = 0.2, 3


def say(text):
    print(text, file=sys.stderr, flush=True)


class Servers:
    """PostgreSQL servers below a folder, started when they are first asked for, all ended by `stop`."""

    def __init__(self, folder):
        self._folder, self._running = folder, {}

    def get(self, major):
        if major not in self._running:
            say(f"starting PostgreSQL {major}")
            # Entered first: a start that is interrupted half-way is stopped as well.
            self._running[major] = None
            self._running[major] = Server(self._script("start", str(major), self._path(major)).strip())
        return self._running[major]

    def stop(self):
        for major in self._running:
            self._script("stop", self._path(major))
        self._running = {}

    def _path(self, major):
        return str(self._folder / f"pg{major}")

    def _script(self, *arguments):
        # A session of its own: Ctrl-C is for this program, which lets a server come up before it stops it again.
        process = subprocess.Popen([str(HERE / "server.sh"), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                   start_new_session=True)
        try:
            said, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait()
            raise
        if process.returncode != 0:
            raise CommandFailed(["server.sh", *arguments], process.returncode, "(see above)")
        return said


class Run:
    """What the rows share: servers, data, tools, and how often and how large to measure."""

    def __init__(self, options, folder):
        self.repeat, self.scale, self.quick = options.repeat, options.scale, options.quick
        self._servers, self._data = Servers(folder), {}
        bins = {major: path for major, path in (item.split("=") for item in options.bin)}
        work = tempfile.mkdtemp(prefix="work.", dir=folder)
        self.tools = Tools(options.binary, {int(m): p for m, p in bins.items()}, work, options.jobs)

    def server(self, major=17):
        return self._servers.get(major)

    def data(self, major=17):
        if major not in self._data:
            self._data[major] = datasets.Data(self.server(major), self.scale, say, self.room)
        return self._data[major]

    def rivals(self, major=17):
        return Rivals(self.tools, self.server(major), major)

    def room(self, size):
        """Fails unless `size` bytes and a reserve fit on the disk: a full one would fail somebody else as well."""
        free = shutil.disk_usage(self.tools.work).free
        if free < size + RESERVE_BYTES:
            raise RuntimeError(f"{(size + RESERVE_BYTES) / 1e9:.0f} GB of disk are needed below {self.tools.work.parent},"
                               f" {free / 1e9:.0f} GB are free; set PGKEEP_BENCH_DIR to a larger disk, or --scale to less than 1")

    def size(self, gigabytes):
        scaled = gigabytes * self.scale
        return f"{scaled:g} GB" if scaled >= 1 else f"{scaled * 1024:.0f} MB"

    def example(self, name):
        """A program of examples/, built if need be."""
        say(f"building examples/{name}")
        quietly(["cargo", "build", "--release", "--quiet", "--manifest-path", REPOSITORY / "Cargo.toml", "--example", name],
                self.tools.environment({"CARGO_TARGET_DIR": os.environ["CARGO_TARGET_DIR"]}))
        return pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "release/examples" / name

    def close(self):
        try:
            self._servers.stop()
        finally:
            shutil.rmtree(self.tools.work, ignore_errors=True)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures pgkeep beside its rivals; without ROW, every row.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure; see --list")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--quick", action="store_true",
                        help=f"the rows that matter for the engine, at scale {QUICK_SCALE} with {QUICK_REPEAT} repetitions: two minutes")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of each command [default: 5]")
    parser.add_argument("--scale", type=float, metavar="X", help="size of all data [default: 1]")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="parallelism of every command [default: 2]")
    parser.add_argument("--binary", metavar="PATH", help="the pgkeep to measure [default: a release build of this clone]")
    parser.add_argument("--build", action="store_true", help="also measure a clean release build")
    parser.add_argument("--json", metavar="FILE", help="write all raw figures")
    parser.add_argument("--table", nargs="+", metavar="FILE", help="measure nothing: print files of --json as the table of docs/PERFORMANCE.md")
    parser.add_argument("--keep", action="store_true", help="keep servers' data for the next run with --keep")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--bin", action="append", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.repeat = options.repeat or (QUICK_REPEAT if options.quick else 5)
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    if options.repeat < 1 or options.scale <= 0 or options.jobs < 1:
        parser.error("--repeat, --scale and --jobs are positive")
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return options


def chosen(options):
    """The rows to measure, in the order of the table."""
    if options.rows:
        names = [*options.rows, *(["build"] if options.build else [])]
        return [row for row in ROWS.values() if row.name in names]
    rows = [row for row in ROWS.values() if row.quick] if options.quick else [r for r in ROWS.values() if not r.named_only]
    return rows + ([ROWS["build"]] if options.build else [])


def machine(options):
    """What the figures depend on."""
    models = [line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    version = quietly([options.binary, "--version"]).strip()
    described = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    commit = described.stdout.strip() or "an unknown commit"
    digest = hashlib.sha256(pathlib.Path(options.binary).read_bytes()).hexdigest()
    return {"processors": os.cpu_count(), "cpu": cpu, "memory_gib": round(memory / 2**30, 1), "kernel": platform.release(),
            "pgkeep": version, "binary": str(options.binary), "binary_sha256": digest, "bench": commit, "scale": options.scale,
            "repeat": options.repeat, "jobs": options.jobs, "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def prepared_folder(folder):
    """Makes the folder usable: nobody else's run in it, and no data of another generator."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    lock = open(folder / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"error: another run of scripts/bench uses {folder}; set PGKEEP_BENCH_DIR to another folder")
    stamp = folder / "data-version"
    for left in folder.glob("work.*"):
        shutil.rmtree(left)
    if stamp.exists() and stamp.read_text() != datasets.fingerprint():
        say(f"the data kept in {folder} are those of an older generator: making them anew")
        for cluster in folder.glob("pg[0-9][0-9]"):
            subprocess.run([str(HERE / "server.sh"), "stop", str(cluster)], check=True)
            shutil.rmtree(cluster)
            for left in (cluster.with_suffix(".env"), cluster.with_suffix(".log")):
                left.unlink(missing_ok=True)
    stamp.write_text(datasets.fingerprint())
    return lock


def write_figures(options, about, results, failure):
    """Writes what was measured so far: whoever interrupts hours of measuring keeps the rows that are done."""
    if options.json:
        document = {"pgkeep_bench": 1, "machine": about, "failure": failure, "rows": [r.document() for r in results]}
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1))


def measured(options, about, run):
    """Measures the rows one after another, prints and writes each; gives all results, also when a later row fails."""
    results, failure = [], None
    for row in chosen(options):
        say(f"{datetime.datetime.now():%H:%M:%S} measuring {row.name}: {row.about}")
        try:
            results.append(row.measure(run))
        except (CommandFailed, ServerError, OSError, RuntimeError, ValueError) as e:
            failure = f"row {row.name} failed: {e}"
            say(f"error: {failure}")
            continue
        finally:
            run.tools.clear()
        print(render(results[-1]) + "\n", flush=True)
        write_figures(options, about, results, failure)
    return results, failure


def main():
    options = parse_arguments()
    if options.list:
        for row in ROWS.values():
            print(f"{row.name:22} {'quick' if row.quick else '':6} {row.about}")
        return 0
    if options.table:
        print(markdown([json.loads(pathlib.Path(file).read_text()) for file in options.table]))
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    folder = pathlib.Path(options.folder)
    lock = prepared_folder(folder)
    about = machine(options)
    print(f"{about['pgkeep']}, {about['binary']}, measured by scripts/bench of {about['bench']} on {about['processors']} × {about['cpu']},"
          f" {about['memory_gib']} GiB; scale {options.scale:g}, {options.repeat} repetitions, {options.jobs} jobs\n", flush=True)
    run = Run(options, folder)
    try:
        results, failure = measured(options, about, run)
    finally:
        # What is being cleaned up is not interrupted again.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        run.close()
        lock.close()
    write_figures(options, about, results, failure)
    print(summary(results))
    if failure:
        say(f"error: {failure}")
    return 1 if failure else 0


def interrupted(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except CommandFailed as e:
        say(f"error: {e}")
        sys.exit(1)
