"""What a round of the engine costs besides sweeps, on 1 to 64 ranks; a model of it, and what that predicts for more.

    scale.py [--part NAME ...] [--page docs/scale.md] [--json FILE]        writes docs/scale.png as well

Costs are measured where they are honest on few cores: work as CPU time of one thread, messages on two ranks, files on
a disk, each as the smallest of many short repeats. Runs with up to 64 ranks that share the cores check the work of the
model; what they wait for each other is told apart.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ledger
import matplotlib as mpl
import numpy as np
import page
import production
from bench import machine, said
from launch import Launcher, launchers
from matplotlib.figure import Figure
from scipy.optimize import nnls

from mcmc import config, parallel
from mcmc.analysis.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, STYLE
from mcmc.netcdf import deflated
from mcmc.parallel import Piece, Serial
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.storage import RunDirectory

HERE = Path(__file__).resolve()
US = 1e-6
SLICE = 100
"""Rounds that are timed together: short, so that some are not interrupted by other programs."""
SLICES = 400
STRETCH = 0.05
"""Seconds between two agreements of the ranks; then rows become observables."""
RANKS = (1, 2, 4, 8, 16, 32, 64)
PREDICTED = (64, 1024, 16384)


# --- the workloads ---


@dataclass(frozen=True)
class Workload:
    """An instance, and over how many ranks it is split; larger jobs have more instances."""

    name: str
    n_inputs: int
    n_hidden: int
    n_patterns: int
    n_rungs: int
    n_copies: int
    ranks: int
    measure_every: int

    @property
    def n_walkers(self) -> int:
        return self.n_copies * self.n_rungs

    def tables(self, sweeps: int = 10**7, burn_in: int = 0) -> dict[str, Any]:
        tables = production.run_file(self.n_inputs, self.n_patterns, self.n_rungs, sweeps, self.measure_every)
        tables["ladder"]["n_copies"] = self.n_copies
        tables["schedule"]["burn_in"] = burn_in
        if self.n_hidden > 1:
            tables["model"] |= {"architecture": "committee", "n_hidden": self.n_hidden}
        return tables


SPLIT = Workload("a: N = 1000, 16 rungs x 4 copies, a walker on a rank", 1000, 1, 1000, 16, 4, 64, 10)
WHOLE = Workload("b: the same, an instance on a rank", 1000, 1, 1000, 16, 4, 1, 10)
LARGE = Workload("c: committee, N = 10001, K = 3, 64 rungs, a walker on a rank", 10001, 3, 8000, 64, 1, 64, 10)
WORKLOADS = (SPLIT, WHOLE, LARGE)


@dataclass(frozen=True)
class Cluster:
    """What cannot be measured on one machine; times in seconds, rates in bytes/s."""

    step: float = 2e-6
    """Of an all-gather between two hosts, which takes log2(ranks) of them."""
    bandwidth: float = 5e9
    """Into one rank."""
    disk: float = 2e9
    """Of one file that one process writes."""
    opens: float = 2e4
    """Files that its file system opens in a second, for all ranks together."""
    day: float = 86400.0
    """Length of a run, over which its start is spread."""
    every: float = 300.0
    """Seconds between checkpoints."""


# --- costs on this machine ---


def _least(run: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call, the least of several."""
    taken = []
    for _ in range(repeats):
        began = clock()
        run()
        taken.append(clock() - began)
    return min(taken)


def work(workload: Workload, sweeps: int) -> dict[str, Any]:
    """Of one instance, CPU seconds: a sweep of a walker by rung, a row, an exchange decision, start; and bytes."""
    began = time.thread_time()
    problem = Problem(config.load(workload.tables()))
    part = Part(problem, Piece(0, 0, workload.n_walkers), Serial())
    start = time.thread_time() - began
    part.advance(1, sweeps)
    done, together = sweeps, []
    for _ in range(5):
        count = max(1, sweeps // 5)
        began = time.thread_time()
        part.chain.advance(done + 1, done + count)
        together.append((time.thread_time() - began) / count / workload.n_walkers)
        done += count
    part.chain.take()
    one, many = (_rows(part, n) for n in (1, 21))
    instance = problem.instance(0)
    data = 2 * _least(lambda: problem.instance(0), 2, time.thread_time)
    data += _least(lambda: deflated(instance.inputs.dense().tobytes()), 2, time.thread_time)
    return {
        "data": data,
        "sweep": min(together),
        "by_rung": _by_rung(part, problem, max(1, sweeps // 5)),
        "row": (many - one) / 20,
        "collect": one - (many - one) / 20,
        "decision": _decision(part),
        "start": start,
        "row_bytes": part.held_bytes // sum(len(piece["energy"]) for piece in part.rows),
        "row_weights": problem.n_weights // 8 * workload.n_walkers,
        "state_bytes": sum(a.nbytes for a in (part.walker_state() | part.instance_state()).values()),
    }


def _rows(part: Part, n_rows: int) -> float:
    """CPU seconds of turning so many rows into observables."""

    def collect() -> float:
        for _ in range(n_rows):
            part.chain.record()
        began = time.thread_time()
        part._collect(1, n_rows * part.measure_every)
        return time.thread_time() - began

    return min(collect() for _ in range(10))


def _decision(part: Part) -> float:
    """CPU seconds of an exchange round, all energies being known."""
    energy = part.block.energy.copy()
    return _least(lambda: [part.chain.exchange(1, energy) for _ in range(SLICE)], 50, time.thread_time) / SLICE


def _by_rung(whole: Part, problem: Problem, sweeps: int) -> list[float]:
    """Seconds of a sweep of the walker on each rung of the first copy, all of them as warm as they are in `whole`."""
    found = []
    instance = problem.instance(0)
    for rung in range(problem.n_rungs):
        walker = int(whole.chain.walker_at[0, rung])
        alone = Part(problem, Piece(0, rung, rung + 1), Serial())
        alone.block = problem.block(instance, whole.block.weights[walker : walker + 1])
        alone.chain = problem.sampler.chain(
            alone.block, seed=1, beta=problem.beta, prior=problem.prior, n_copies=problem.n_copies, first=rung
        )
        done = iter(range(1, 10**9))
        found.append(_least(partial(_sweep, alone.chain, done), 3 * sweeps, time.thread_time))
    return found


def messages() -> dict[str, float]:
    """On all ranks of the launcher, seconds: an all-gather of 64 energies and of many, agreement, a round of a part."""
    world = parallel.world()
    found = {}
    for n in (64, 1 << 16):
        values = np.zeros(n)
        join = world.joining(values, slice(n * world.rank // world.size, n * (world.rank + 1) // world.size))
        count = SLICE if n == 64 else 4
        found[f"join_{n}"] = _least(lambda join=join, count=count: [join() for _ in range(count)], SLICES) / count
    empty = parallel.Mpi(world.comm.Split(world.rank)).joining(np.zeros(64), slice(0, 64))  # alone: no message
    found["python"] = _least(lambda: [empty() for _ in range(SLICE)], SLICES) / SLICE
    found["agreement"] = (
        _least(lambda: [world.start_maximum([0, 0, 0, 0])() for _ in range(SLICE)], SLICES // 4) / SLICE
    )
    rows = np.zeros((1 << 22) // world.size, np.uint8)
    found["gather"] = _least(lambda: world.gather(rows), 30)
    return found | _round(world)


def _round(world: parallel.World) -> dict[str, float]:
    """Seconds of a round of `Part.advance` on an instance with hardly anything to sweep, and of its sweeps alone."""
    tables = SPLIT.tables()
    tables["model"]["n_inputs"] = tables["data"]["n_patterns"] = 3
    tables["schedule"]["measure_every"] = 10**6
    problem = Problem(config.load(tables))
    [piece] = parallel.layout(1, problem.n_walkers, world.size)[world.rank]
    part = Part(problem, piece, world)
    done = iter(range(1, 10**9, SLICE))
    found = {"round": _least(lambda: part.advance((first := next(done)), first + SLICE - 1), SLICES) / SLICE}
    sweeps = _least(lambda: [_sweep(part.chain, done) for _ in range(SLICE)], SLICES) / SLICE
    return found | {"small_sweep": sweeps}


def _sweep(chain: Any, numbers: Iterator[int]) -> None:
    number = next(numbers)
    chain.sweep(number, number)


def files(directory: Path) -> dict[str, float]:
    """Seconds of a small segment, and bytes/s of large segments, checkpoints and results, in `directory`."""
    files = RunDirectory(directory / "run")
    files.create("")
    attributes = {"seed": 1}
    shape = (1, 1000, WHOLE.n_copies, WHOLE.n_rungs)

    def series(n_rows: int) -> dict[str, Any]:
        energy = np.random.default_rng(1).integers(0, 400, (1, n_rows, *shape[2:])).astype(float)
        return {"energy": energy, "sweep": np.arange(n_rows)}

    small, large = series(10), series(50_000)
    wall = _least(lambda: files.write_segment(0, 0, small, attributes), 20)
    segment: list[Any] = []
    seconds = _least(lambda: segment.append(files.write_segment(0, 0, large, attributes)), 5)
    state = {"weight_sum": np.zeros((4 << 20,), np.int64)}
    checkpoint = _least(lambda: files.write_checkpoint(state, {"sweep": 1}, []), 5)
    done: list[bytes] = []

    def write(deflate: Callable[[Sequence[bytes]], Iterable[bytes]]) -> float:
        return _least(lambda: files.write_results({}, None, attributes, segment[-1:], deflate), 1, time.thread_time)

    def compress(chunks: Sequence[bytes]) -> Sequence[bytes]:
        done.extend(map(deflated, chunks))
        return done[-len(chunks) :]

    by_one = write(compress)
    again = iter(done)
    helped = write(lambda chunks: [next(again) for _ in chunks])
    n_bytes = large["energy"].nbytes
    return {
        "segment": wall,
        "segment_rate": n_bytes / (seconds - wall),
        "checkpoint_rate": state["weight_sum"].nbytes / checkpoint,
        "results_rate": n_bytes / helped,
        "deflate_rate": n_bytes / (by_one - helped),
    }


START = """
import os, sys, time
from mcmc import config, engine, parallel
import mcmc.cli
parallel.world()
import mpi4py.MPI
maps = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
modules = {getattr(m, "__file__", None) for m in list(sys.modules.values())} - {None}
found = modules | maps
size = sum(os.path.getsize(file) for file in found if os.path.exists(file))
print("result", [time.process_time(), len(found), size])
"""


def start(launcher: Launcher | None) -> dict[str, Any]:
    """CPU seconds of a process until the run begins, the files that it opens for that, and their bytes."""
    if launcher is None:
        said = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True).stdout
        found = json.loads(said.split("result ")[1])
    else:
        found = [min(column) for column in zip(*(launcher.result(1, ["-c", START]) for _ in range(5)), strict=True)]
    return dict(zip(("import", "files", "bytes"), found, strict=True))


def starting(launcher: Launcher, ranks: Iterable[int]) -> dict[int, float]:
    """Wall seconds of a whole run that takes next to no time, by ranks."""
    tables = SPLIT.tables(sweeps=20)
    tables["model"]["n_inputs"] = tables["data"]["n_patterns"] = 33
    return {n: min(_timed(launcher, n, tables)[0] for _ in range(2)) for n in ranks}


def _timed(launcher: Launcher, n_ranks: int, tables: dict[str, Any]) -> tuple[float, list[dict[str, list[float]]]]:
    """Wall seconds of a run under a launcher, and the books of its ranks."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "tables.json")
        file.write_text(json.dumps(tables))
        began = time.perf_counter()
        books = launcher.result(n_ranks, [str(HERE.parent / "ledger.py"), str(file), str(Path(scratch, "out"))])
        return time.perf_counter() - began, books


# --- many ranks on few cores ---


def crowded(launcher: Launcher, sweeps: int) -> list[dict[str, Any]]:
    """Workload `a` on 1 to 64 ranks: microseconds a sweep, CPU and wall, mean of the ranks and rank 0."""
    rows = []
    for n in RANKS:
        _, books = _timed(launcher, n, SPLIT.tables(sweeps))
        row: dict[str, Any] = {"ranks": n}
        for section in ("sweeps", "exchange", "measurement", "gathering", "loop", "segments", "checkpoints"):
            entries = [book.get(section, [0.0, 0.0]) for book in books]
            row[section] = {
                "cpu": float(np.mean([entry[1] for entry in entries])) / sweeps / US,
                "cpu_0": entries[0][1] / sweeps / US,
                "wall": float(np.mean([entry[0] for entry in entries])) / sweeps / US,
            }
        rows.append(row)
    return rows


def fit(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """CPU microseconds a sweep of the sections that work, as a few terms >= 0."""
    n = np.array([row["ranks"] for row in rows], dtype=float)
    rows_and_calls = {"all walkers": np.ones_like(n), "a rank": n - 1}
    terms = {
        "sweeps": ("cpu", {"a call": np.ones_like(n), "a walker": SPLIT.n_walkers / n}),
        "measurement": ("cpu_0", rows_and_calls),
        "gathering": ("cpu_0", rows_and_calls),
    }
    found = {}
    for section, (clock, columns) in terms.items():
        measured = np.array([row[section][clock] for row in rows])
        # relative deviations count: costs range over two decades
        weights = 1 / np.maximum(measured, 1e-3 * measured.max())
        solved, _ = nnls(np.stack(list(columns.values()), axis=1) * weights[:, None], measured * weights)
        model = np.stack(list(columns.values()), axis=1) @ solved
        found[section] = dict(zip(columns, solved.tolist(), strict=True))
        found[section]["deviation"] = float(np.median(np.abs(model / measured - 1)))
    return found


# --- what must hold ---


def share_around_sweeps(sweeps: int) -> dict[str, float]:
    """What costs besides sweeps on one rank, as a share of them: N = 1000, 16 rungs, exchange every sweep.

    Work in CPU time; a segment and a checkpoint, which wait for the disk, in wall time over the time between two.
    """
    tables = production.run_file(1000, 1000, production.N_RUNGS, sweeps)
    with tempfile.TemporaryDirectory() as scratch:
        books = ledger.run(tables, Path(scratch, "out"), Serial())
    problem = Problem(config.load(tables))
    decision = _decision(Part(problem, Piece(0, 0, problem.n_walkers), Serial()))
    checkpoint, total = books["segments"][0] + books["checkpoints"][0], books["sweeps"][1]
    return {
        "sweeps, in s": total,
        "a segment and a checkpoint, in ms": 1e3 * checkpoint,
        "exchange": decision * sweeps / total,
        "segments and checkpoints every 5 min": checkpoint / Cluster().every,
        "results.h5": books["results"][1] / total,
        "measurement": books["measurement"][1] / total,
        "agreement, Python": books["loop"][1] / total,
    }


def pairs(launcher: Launcher, repeats: int, sweeps: int) -> list[list[float]]:
    """How many times two instances go faster on two ranks than on one, from the first sweep to the last; by pair.

    In wall time, and in CPU time of what is work: that of the slower rank, whoever else uses the cores.
    """
    tables = production.run_file(1000, 1000, production.N_RUNGS, sweeps)
    tables["data"]["n_instances"] = 2
    working = ("sweeps", "measurement", "gathering", "segments", "checkpoints")

    def seconds(n_ranks: int) -> tuple[float, float]:
        _, books = _timed(launcher, n_ranks, tables)
        work = [sum(book[section][1] for section in working if section in book) for book in books]
        return max(book["loop"][3] for book in books), max(work)

    ratios = []
    for number in range(repeats):
        times = {n: seconds(n) for n in ((1, 2), (2, 1))[number % 2]}
        ratios.append([one / two for one, two in zip(times[1], times[2], strict=True)])
        said = ", ".join(f"{one:.2f} s / {two:.2f} s" for one, two in zip(times[1], times[2], strict=True))
        print(f"pair {number}: wall and CPU {said}", flush=True)
    return ratios


# --- the model ---

TERMS = {
    "sweeps": GREY,
    "unequal walkers": ORANGE,
    "all-gather and decision": BLUE,
    "measurement by the first rank": GREEN,
    "agreement": "black",
    "rows to rank 0 and into segments": SKY,
    "checkpoints": PURPLE,
    "results.h5": "#D55E00",
    "start": "#F0E442",
}


def predict(w: Workload, n_ranks: int, costs: dict[str, Any], cluster: Cluster, measure_every: int) -> dict[str, float]:
    """Seconds of a sweep of every walker by the terms of TERMS, on so many ranks with n_ranks / w.ranks instances."""
    own, here, disk = costs["work"][w.name], costs["messages"], costs["files"]
    walkers, instances = w.n_walkers / w.ranks, n_ranks / w.ranks
    by_rung = np.tile(own["by_rung"], w.n_copies) * own["sweep"] / np.mean(own["by_rung"])
    found = dict.fromkeys(TERMS, 0.0)
    found["sweeps"] = walkers * own["sweep"]
    per_row = 1 / measure_every
    if w.ranks > 1:
        rng = np.random.default_rng(1)
        rounds = [rng.permutation(by_rung).reshape(w.ranks, -1).sum(axis=1).max() for _ in range(200)]
        found["unequal walkers"] = float(np.mean(rounds)) - found["sweeps"]
        own_part = here["round"] - here["small_sweep"] - here["join_64"]
        steps = math.log2(w.ranks) * cluster.step + 8 * w.n_walkers / cluster.bandwidth
        found["all-gather and decision"] = steps + max(own_part, own["decision"])
        own_rows = own["row"] + own["row_weights"] / cluster.bandwidth
        found["measurement by the first rank"] = own_rows * per_row
    else:
        found["all-gather and decision"] = own["decision"]
        found["measurement by the first rank"] = own["row"] * per_row
    row_bytes = instances * own["row_bytes"]
    to_file = 1 / cluster.bandwidth + 1 / min(cluster.disk, disk["segment_rate"])
    found["rows to rank 0 and into segments"] = row_bytes * to_file * per_row
    by_all = 1 / cluster.bandwidth + 1 / (n_ranks * disk["deflate_rate"])
    found["results.h5"] = row_bytes * (by_all + 1 / disk["results_rate"]) * per_row
    busy = sum(found.values())
    found["results.h5"] += busy * instances * own["data"] / cluster.day
    stretches = min(1.0, busy / STRETCH)
    found["measurement by the first rank"] += min(stretches, per_row) * own["collect"]
    found["agreement"] = stretches * math.log2(n_ranks) * cluster.step
    state = instances * own["state_bytes"] * (1 / cluster.bandwidth + 1 / min(cluster.disk, disk["checkpoint_rate"]))
    found["checkpoints"] = busy * (state + disk["segment"]) / cluster.every
    begin = costs["start"]["import"] + n_ranks * costs["start"]["files"] / cluster.opens + own["start"]
    found["start"] = busy * begin / cluster.day
    return found


def efficiency(seconds: dict[str, float]) -> float:
    return seconds["sweeps"] / sum(seconds.values())


def bottleneck(seconds: dict[str, float]) -> tuple[str, float]:
    """The term that costs most besides the sweeps, and its share of the time."""
    name = max((name for name in seconds if name != "sweeps"), key=seconds.__getitem__)
    return name, seconds[name] / sum(seconds.values())


CASES = (
    (SPLIT, 10, "one run"),
    (SPLIT, 100, "one run"),
    (WHOLE, 10, "one run"),
    (WHOLE, 100, "one run"),
    (WHOLE, 100, "a scan, 64 ranks to a task"),
    (LARGE, 10, "one run"),
)


def splitting(costs: dict[str, Any], cluster: Cluster) -> str:
    """One instance on more and more ranks: efficiency, and how many times it is faster than on one."""
    lines = []
    for n in RANKS:
        line: list[object] = [n]
        for w in (SPLIT, LARGE):
            e = efficiency(predict(replace(w, ranks=n), n, costs, cluster, w.measure_every))
            line += [f"{e:.0%}", f"{e * n:.1f}"]
        lines.append(line)
    return page.markdown(["ranks", "a: efficiency", "times faster", "c: efficiency", "times faster"], lines)


def predictions(costs: dict[str, Any], cluster: Cluster) -> list[list[str]]:
    """The rows of the table: workload, rows every, how, and efficiency with the first bottleneck by ranks."""
    rows = []
    for w, every, how in CASES:
        row = [w.name, str(every), how]
        for n in PREDICTED:
            seconds = _predicted(w, n, costs, cluster, every, how)
            name, share = bottleneck(seconds)
            row.append(f"{efficiency(seconds):.1%} ({name} {share:.1%})")
        rows.append(row)
    return rows


def _predicted(w: Workload, n: int, costs: dict[str, Any], cluster: Cluster, every: int, how: str) -> dict[str, float]:
    """A task of a scan has files of its own, but the ranks start together."""
    if how == "one run":
        return predict(w, n, costs, cluster, every)
    return predict(w, 64, costs, cluster, every) | {"start": predict(w, n, costs, cluster, every)["start"]}


def draw(costs: dict[str, Any], cluster: Cluster, path: Path) -> None:
    """Efficiency against ranks, and where the time goes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        lines = ("-", "--", ":")
        colours = {SPLIT: BLUE, WHOLE: GREEN, LARGE: PURPLE}
        seen: dict[Workload, int] = {}
        for w, every, how in CASES:
            n = [2**k for k in range(6, 15)]
            values = [efficiency(_predicted(w, m, costs, cluster, every, how)) for m in n]
            style = lines[seen.setdefault(w, 0)]
            seen[w] += 1
            label = f"{w.name[0]}, a row every {every} sweeps" + (", as a scan" if how != "one run" else "")
            left.plot(n, values, style, color=colours[w], label=label)
        left.set_xscale("log", base=2)
        left.set(xlabel="ranks", ylabel="efficiency (share of the time in sweeps)", ylim=(0, 1.02))
        left.set_title("predicted efficiency")
        left.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        bars = [
            (w, every, how, n) for w, every, how in CASES if every == (100 if w is WHOLE else 10) for n in PREDICTED
        ]
        bottom = np.zeros(len(bars))
        shares = [_predicted(w, n, costs, cluster, every, how) for w, every, how, n in bars]
        for name, colour in TERMS.items():
            height = np.array([s[name] / sum(s.values()) for s in shares])
            right.bar(range(len(bars)), height, 0.8, bottom, color=colour, label=name)
            bottom += height
        labels = [f"{w.name[0]}{'' if how == 'one run' else ' scan'}\n{n}" for w, _, how, n in bars]
        right.set_xticks(range(len(bars)), labels, fontsize="x-small")
        right.set(xlabel="workload and ranks", ylabel="share of the time")
        right.set_title("where the time goes")
        right.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.19), ncols=3)
        figure.savefig(path)


# --- tables ---


def _us(seconds: float) -> str:
    return f"{seconds / US:.3g}"


def cost_table(costs: dict[str, Any]) -> str:
    """What was measured, for the page."""
    here, disk, begin = costs["messages"], costs["files"], costs["start"]
    lines = []
    for w in WORKLOADS:
        own = costs["work"][w.name]
        lines += [
            [f"{w.name}: a sweep of a walker, mean; coldest, hottest rung", "CPU of a thread",
             f"{_us(own['sweep'])} µs; {_us(min(own['by_rung']))}, {_us(max(own['by_rung']))} µs"],
            [f"{w.name}: observables of all walkers: for each row, and besides once in 50 ms", "CPU of a thread",
             f"{_us(own['row'])} µs, {_us(own['collect'])} µs"],
            [f"{w.name}: bytes of a row, of the state in a checkpoint", "",
             f"{own['row_bytes']:.3g}, {own['state_bytes']:.3g}"],
        ]  # fmt: skip
    lines += [
        ["decision of an exchange round, 64 walkers", "CPU of a thread",
         f"{_us(costs['work'][SPLIT.name]['decision'])} µs"],
        ["all-gather of 64 energies, of which mpi4py", "2 ranks, wall",
         f"{_us(here['join_64'])}, {_us(here['python'])} µs"],
        ["exchange round of an instance on two ranks, sweeps not included", "2 ranks, wall",
         f"{_us(here['round'] - here['small_sweep'])} µs"],
        ["all-gather of 512 KiB", "2 ranks, wall", f"{_us(here['join_65536'])} µs"],
        ["agreement (a maximum, waited for at once)", "2 ranks, wall", f"{_us(here['agreement'])} µs"],
        ["a small segment, with fsync", "wall", f"{_us(disk['segment'])} µs"],
        ["segments, checkpoints", "wall",
         f"{disk['segment_rate'] / 1e6:.0f}, {disk['checkpoint_rate'] / 1e6:.0f} MB/s"],
        ["results.h5: compression, which all ranks do; the rest, by rank 0", "CPU of a thread",
         f"{disk['deflate_rate'] / 1e6:.0f}, {disk['results_rate'] / 1e6:.0f} MB/s of numbers"],
        ["start of a process", "CPU of a thread",
         f"{begin['import']:.2f} s, {begin['files']} files, {begin['bytes'] / 1e6:.0f} MB"],
    ]  # fmt: skip
    return page.markdown(["cost", "clock", "measured"], lines)


def crowd_table(rows: list[dict[str, Any]]) -> str:
    titles = ["ranks", "sweeps, CPU", "sweeps, wall", "exchange, wall", "measurement, CPU of rank 0",
              "gathering, CPU of rank 0", "loop and agreement, CPU"]  # fmt: skip
    lines = []
    for row in rows:
        cells = (row["sweeps"]["cpu"], row["sweeps"]["wall"], row["exchange"]["wall"], row["measurement"]["cpu_0"],
                 row["gathering"]["cpu_0"], row["loop"]["cpu"])  # fmt: skip
        lines.append([row["ranks"], *(f"{cell:.3g}" for cell in cells)])
    return page.markdown(titles, lines)


def fit_table(fitted: dict[str, dict[str, float]]) -> str:
    lines = []
    for section, terms in fitted.items():
        formula = " + ".join(f"{value:.3g} µs x {name}" for name, value in terms.items() if name != "deviation")
        lines.append([section, formula, f"{terms['deviation']:.0%}"])
    return page.markdown(["section", "CPU of a sweep", "median deviation"], lines)


def hold_table(found: dict[str, Any]) -> str:
    lines = []
    for name, value in found.get("share", {}).items():
        unit = name.partition(", in ")[2]
        lines.append([f"one rank: {name}", f"{value:.3g} {unit}" if unit else f"{value:.2%} of the sweeps"])
    for name, (whole, join) in found.get("rounds", {}).items():
        lines.append([f"exchange round on two ranks, {name}; the all-gather alone", f"{_us(whole)}; {_us(join)} µs"])
    for name, ratios in found.get("pairs", {}).items():
        what = f"two instances on two ranks against one rank, {name}: median of {len(ratios)} pairs"
        wall, cpu = np.median(ratios, axis=0)
        lines.append([what, f"wall {wall:.2f} x, CPU {cpu:.2f} x"])
    for name, seconds in found.get("starting", {}).items():
        what = f"a whole short run on {', '.join(map(str, seconds))} ranks, {name}"
        lines.append([what, ", ".join(f"{s:.2g}" for s in seconds.values()) + " s"])
    return page.markdown(["what", "measured"], lines)


# --- the parts ---

PARTS = ("work", "messages", "files", "start", "crowded", "share", "pairs", "starting")


def measure(parts: Iterable[str], quick: bool, known: dict[str, Any]) -> dict[str, Any]:
    """The figures of the parts asked for, in place of those known."""
    found, available = dict(known), launchers()
    if not available:
        print("no MPI launcher: without the parts that need one", file=sys.stderr)
    for part in parts:
        if part == "work":
            found[part] = {w.name: work(w, 20 if w is LARGE else 200 if quick else 1000) for w in WORKLOADS}
        elif part == "messages" and available:
            by_name = {launcher.name: launcher.result(2, [str(HERE), "--rank"]) for launcher in available}
            found[part] = min(by_name.values(), key=lambda m: m["round"] - m["small_sweep"])
            found["rounds"] = {n: [m["round"] - m["small_sweep"], m["join_64"]] for n, m in by_name.items()}
        elif part == "files":
            with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
                found[part] = files(Path(scratch))
        elif part == "start":
            found[part] = start(available[0] if available else None)
        elif part == "crowded" and available:
            found[part] = crowded(available[0], 200 if quick else 1000)
        elif part == "share":
            found[part] = share_around_sweeps(2000 if quick else 20000)
        elif part == "pairs" and available:
            found[part] = {launcher.name: pairs(launcher, 3 if quick else 7, 3000) for launcher in available}
        elif part == "starting" and available:
            found[part] = {launcher.name: starting(launcher, (1, 2, 3, 5, 8, 16)) for launcher in available}
        print(f"{part}: {json.dumps(found.get(part))}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures; those in it stand for other parts")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into FILE, which is docs/scale.md")
    parser.add_argument(
        "--figure", type=Path, default=Path("docs/scale.png"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="few and short repeats: to see that it works")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank:
        found = messages()
        if parallel.launcher_rank() == 0:
            print("result " + json.dumps(found), flush=True)
        return
    known = json.loads(asked.json.read_text()) if asked.json and asked.json.exists() else {}
    found = measure(asked.part or PARTS, asked.quick, known) | {"machine": machine()}
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    if not {"work", "messages", "files", "start"} <= found.keys():
        return
    table = predictions(found, Cluster())
    titles = ["workload", "a row every", "as", *(f"{n} ranks" for n in PREDICTED)]
    tables = {
        "machine": said(found["machine"]),
        "costs": cost_table(found),
        "predictions": page.markdown(titles, table),
    }
    if "crowded" in found:
        tables |= {"crowded": crowd_table(found["crowded"]), "fit": fit_table(fit(found["crowded"]))}
    tables |= {"hold": hold_table(found), "splitting": splitting(found, Cluster())}
    print("\n\n".join(tables.values()))
    draw(found, Cluster(), asked.figure)
    if asked.page:
        page.fill(asked.page, tables)


if __name__ == "__main__":
    main()
