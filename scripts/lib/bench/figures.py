"""Samples of measured commands, their medians, and goals: pure functions, checked by bench_test.py."""

import dataclasses
import statistics


@dataclasses.dataclass
class Sample:
    """What one run of a command took. Bytes and objects are those it wrote to its destination."""

    seconds: float
    cpu: float = 0.0
    peak: int = 0
    written: int = 0
    objects: int = 0
    details: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Check:
    """A figure beside its goal. `goal` None: told for comparison only. `low` and `high` are the spread over repetitions."""

    label: str
    value: float
    low: float
    high: float
    goal: float | None = None
    unit: str = "ratio"
    below: bool = False

    @property
    def kept(self):
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value < self.goal if self.below else self.value <= self.goal

    @property
    def mark(self):
        return {None: "", True: "kept", False: "MISSED"}[self.kept]


@dataclasses.dataclass
class Result:
    """A row of the benchmark: what was measured on what, every sample, and the checks made of them."""

    name: str
    title: str
    samples: dict = dataclasses.field(default_factory=dict)
    checks: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    def document(self):
        """For --json."""
        checks = [{**dataclasses.asdict(c), "kept": c.kept} for c in self.checks]
        samples = {who: [dataclasses.asdict(s) for s in runs] for who, runs in self.samples.items()}
        return {"row": self.name, "title": self.title, "samples": samples, "checks": checks, "notes": self.notes}


def median(samples, field):
    return statistics.median(getattr(s, field) for s in samples)


def ratio(label, ours, theirs, field, goal=None, below=False):
    """Ratio of medians. Its spread is that of the ratios within each repetition, where both ran one after the other."""
    if not ours or not theirs:
        raise ValueError(f"{label}: nothing was measured")
    bottom = median(theirs, field)
    if bottom <= 0:
        raise ValueError(f"{label}: the {field} to compare with is {bottom}")
    pairs = [getattr(a, field) / getattr(b, field) for a, b in zip(ours, theirs) if getattr(b, field) > 0]
    return Check(label, median(ours, field) / bottom, min(pairs), max(pairs), goal, below=below)


def absolute(label, samples, field, goal=None, unit="s", below=False):
    """Median of a field against a fixed goal; of memory and objects the largest, because a limit holds for every run."""
    values = [getattr(s, field) for s in samples]
    value = max(values) if field in ("peak", "objects") else statistics.median(values)
    return Check(label, value, min(values), max(values), goal, unit, below)


def single(label, value, goal=None, unit="s", below=False):
    return Check(label, value, value, value, goal, unit, below)


def fastest(contenders):
    """The name of the contender with the smallest median time."""
    return min(contenders, key=lambda name: median(contenders[name], "seconds"))


def show(value, unit):
    """A figure as people read it."""
    match unit:
        case "ratio":
            return f"{value:.2f}" if value >= 0.1 else f"{value:.5f}"
        case "s":
            return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"
        case "ms":
            return f"{value * 1000:.1f} ms"
        case "MiB":
            return f"{value / 2**20:.1f} MiB"
        case "MB":
            return f"{value / 1e6:.1f} MB"
        case "count":
            return grouped(round(value))
    raise ValueError(f"no unit {unit}")


def grouped(number):
    """A count with its digits in groups of three."""
    return f"{number:_}".replace("_", " ")


def columns(rows):
    """Lines with their cells aligned, all but the last column padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def spread(low, high, unit):
    return "" if low == high else f"({show(low, unit)} – {show(high, unit)})"


def sample_lines(result):
    """One line for each contender: medians, and the spread of time."""
    rows = []
    for who, runs in result.samples.items():
        times = [s.seconds for s in runs]
        unit = "s" if max(times) >= 0.1 else "ms"
        written, objects = median(runs, "written"), median(runs, "objects")
        rows.append([
            f"  {who}", show(median(runs, "seconds"), unit), spread(min(times), max(times), unit),
            f"cpu {show(median(runs, 'cpu'), 's')}" if any(s.cpu for s in runs) else "",
            f"peak {show(max(s.peak for s in runs), 'MiB')}" if any(s.peak for s in runs) else "",
            f"{show(written, 'MB')} in {objects:.0f} files" if objects else "",
        ])
    return columns(rows)


def check_lines(checks, prefix=""):
    """One line for each check: mark, figure, goal, spread."""
    rows = []
    for check in checks:
        sign = "<" if check.below else "≤"
        goal = f"goal {sign} {show(check.goal, check.unit)}" if check.goal is not None else ""
        rows.append([f"  {check.mark or '-':6}", prefix + check.label, show(check.value, check.unit), goal,
                     spread(check.low, check.high, check.unit)])
    return columns(rows)


def render(result):
    lines = [result.title, *sample_lines(result), *check_lines(result.checks), *(f"  {note}" for note in result.notes)]
    return "\n".join(lines)


def summary(results):
    """All figures that have a goal, one line each."""
    rows = [(r.name, c) for r in results for c in r.checks if c.goal is not None]
    width = max((len(name) for name, _ in rows), default=0)
    lines = check_lines([dataclasses.replace(c, label=f"{name.ljust(width)}  {c.label}") for name, c in rows])
    missed = sum(c.kept is False for _, c in rows)
    return "\n".join([*lines, f"{len(rows) - missed} goals kept, {missed} missed"])


def markdown(documents):
    """The table of docs/PERFORMANCE.md out of documents of --json; of a row that was measured twice, the later counts."""
    rows, lines = {}, ["| what | figure | spread | goal | |", "|---|---|---|---|---|"]
    for document in documents:
        for row in document["rows"]:
            rows.pop(row["row"], None)
            rows[row["row"]] = row
    for row in rows.values():
        lines.append(f"| **{row['title']}** | | | | |")
        for raw in row["checks"]:
            check = Check(**{field.name: raw[field.name] for field in dataclasses.fields(Check)})
            goal = f"{'<' if check.below else '≤'} {show(check.goal, check.unit)}" if check.goal is not None else ""
            between = spread(check.low, check.high, check.unit).strip("()")
            cells = [check.label.replace("|", "\\|"), show(check.value, check.unit), between, goal, check.mark]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
