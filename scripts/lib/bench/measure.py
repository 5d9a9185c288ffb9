"""Runs a command and measures it: wall clock, CPU of its whole process tree, and its peak memory."""

import os
import pathlib
import shlex
import signal
import subprocess
import tempfile
import threading
import time

from figures import Sample

# Often enough to miss little of a peak just before the end, rarely enough to cost nothing.
POLL_SECONDS = 0.02
TERM_SECONDS = 15
SAID_LINES = 40


class CommandFailed(Exception):
    """A command that was to be measured, or prepares a measurement, did not succeed."""

    def __init__(self, command, code, output):
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"{shlex.join(map(str, command))}\n{how}; it said:\n{tail(output) or '(nothing)'}")


def tail(output):
    """The last lines: where an error is."""
    lines = output.strip().splitlines()
    return "\n".join((["…"] if len(lines) > SAID_LINES else []) + lines[-SAID_LINES:])


def run(command, environment=None, directory=None):
    """Runs `command` to its end and gives its Sample and its standard output; raises CommandFailed with what it said.

    CPU is that of the process and of all descendants that it waited for. The peak is the process's own high-water mark, without
    servers that it starts: the kernel's figure at its end would count those.
    """
    with tempfile.TemporaryFile(dir=directory) as out, tempfile.TemporaryFile(dir=directory) as err:
        started = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   env=environment, start_new_session=True)
        watch = Watch(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            end(process)
            raise
        finally:
            watch.stop()
        output, complaint = text(out), text(err)
    if process.returncode != 0:
        raise CommandFailed(command, process.returncode, output + complaint)
    return Sample(seconds, cpu=usage.ru_utime + usage.ru_stime, peak=watch.peak), output


def quietly(command, environment=None):
    """Runs a command that is not measured; gives its standard output."""
    return run(command, environment)[1]


def text(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def end(process):
    """Ends a command and its process group: asks, waits, insists."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + TERM_SECONDS
        while process.returncode is None and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.05)
        if process.returncode is not None and sign == signal.SIGTERM:
            # Its leader has ended: what is left of a pipeline ends with its pipes.
            return


class Watch:
    """Reads the high-water mark of a process's resident memory until told to stop."""

    def __init__(self, pid):
        self.peak = 0
        self._status = pathlib.Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self):
        while not self._over.wait(POLL_SECONDS):
            try:
                fields = self._status.read_text()
            except OSError:
                continue
            self.peak = max(self.peak, high_water_mark(fields))

    def stop(self):
        self._over.set()
        self._thread.join()


def high_water_mark(status):
    """Bytes of VmHWM out of /proc/PID/status; 0 of a process that has given its memory back."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            number, unit = value.split()
            if unit != "kB":
                raise ValueError(f"VmHWM in {unit}")
            return int(number) * 1024
    return 0


def inventory(folder):
    """Every file below a folder: path → (size, version)."""
    found = {}
    for parent, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (status.st_size, (status.st_ino, status.st_mtime_ns))
    return found


def written(before, after):
    """Bytes and number of the files that are new or changed between two inventories."""
    changed = [size for path, (size, version) in after.items() if before.get(path) != (size, version)]
    return sum(changed), len(changed)
