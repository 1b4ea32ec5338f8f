"""What a tracking server must take: requests and bytes a cell, and how many cells a second it does take.

`mlflow server` with its artifacts served through it, on PostgreSQL (or, with --sqlite, on a file), on this
machine's loopback. The requests and the bytes are counted by a relay between one client and the server;
the times are taken without it, with 1, 2, 4, ... processes that log cells of one sweep at once.
"""

import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from operator import itemgetter
from pathlib import Path

import psutil

from benchmarks.common import Table, arguments, device_of, publish
from nst.config.schema import TrackingConfig
from nst.tracking.client import Store
from nst.tracking.logger import begin_sweep, end_sweep, log_run
from tests.support.mlflow_server import Relay, Server, free_port, serving
from tests.support.postgres_server import missing, postgres


@contextmanager
def server(folder: Path, sqlite: bool, workers: int) -> Iterator[Server]:
    """The server that is measured."""
    if sqlite:
        with serving(folder, workers=workers) as found:
            yield found
    else:
        if reason := missing():
            raise SystemExit(f"{reason}; or measure with --sqlite")
        with postgres(free_port()) as database, serving(folder, database, workers) as found:
            yield found


def cells(folder: Path, count: int, size: int, iterations: int) -> Path:
    """A sweep of so many cells, as big as those that are painted."""
    make_sweep: Callable[..., Path] = import_module(
        "tests.support.rundirs"
    ).make_sweep  # past mypy: tests are untyped
    return make_sweep(
        folder, "sweep", [[f"seed={n}"] for n in range(count)], size=size, iterations=iterations
    )


def counted(relay: Relay, sweep: Path, store: Store, table: Table) -> int:
    """Log a sweep through the relay, a row for each kind of call; returns the requests of one cell."""
    folders = sorted(path.parent for path in sweep.glob("*/run.json"))
    calls = {
        "the begin of a sweep": ([sweep], begin_sweep),
        "a cell": (folders, log_run),
        "a cell that is there already": (folders, log_run),
        f"the end of a sweep of {len(folders)} cells": ([sweep], end_sweep),
    }
    requests = 0
    for name, (given, act) in calls.items():
        asked, sent, received = relay.asked.copy(), relay.sent, relay.received
        for folder in given:
            act(folder, store)
        share = len(given)
        kinds = relay.asked - asked
        most = ", ".join(f"{count / share:g} {kind}" for kind, count in kinds.most_common())
        kilobytes = [
            (now - then) / share / 1000 for now, then in ((relay.sent, sent), (relay.received, received))
        ]
        table.add(name, kinds.total() / share, *kilobytes, most)
        if name == "a cell":
            requests = kinds.total() // share
    return requests


def processor() -> Counter[str]:
    """Seconds of processor that the clients, the server and its database have taken so far."""
    taken = Counter[str]()
    for child in psutil.Process().children(recursive=True):
        line = " ".join(child.cmdline())
        kind = "database" if "postgres" in line else "server" if "mlflow" in line else "clients"
        times = child.cpu_times()
        taken[kind] += times.user + times.system
    return taken


def timed(sweep: Path, store: Store, processes: int) -> tuple[float, Counter[str]]:
    """Seconds that so many processes, started before, take to log a sweep's cells, and of processor."""
    folders = sorted(path.parent for path in sweep.glob("*/run.json"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nst.tracking.logger", "nst.config.composed", "mlflow.tracking"])
    begin_sweep(sweep, store)
    with ProcessPoolExecutor(processes, context) as pool:
        list(pool.map(begin_sweep, [sweep] * processes * 4, [store] * processes * 4))
        before, started = processor(), time.perf_counter()
        list(pool.map(log_run, folders, [store] * len(folders)))
        return time.perf_counter() - started, processor() - before


def main() -> None:
    """Count, then time."""
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.set_defaults(repeats=1)
    parser.add_argument("--sqlite", action="store_true", help="the server's database is a file")
    parser.add_argument("--cells", type=int, default=40, help="of the sweep that is timed")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--server-workers", type=int, default=2)
    parser.add_argument("--canvas-steps", type=int, default=TrackingConfig().canvas_steps)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=2500)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending the servers

    database = "SQLite" if options.sqlite else "PostgreSQL"
    columns = ["call", "requests", "kB sent", "kB received", "which"]
    calls = Table(f"One client, canvases of {options.size} px, {options.iterations} iterations", columns)
    kinds = ("clients", "server", "database")
    columns = ["processes", "cells", "seconds", "cells/s", "requests/s", "MB/s"]
    columns += [f"s of processor a cell, {kind}" for kind in kinds]
    rates = Table(f"Processes that log at once, {options.server_workers} server workers, {database}", columns)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder / "server", options.sqlite, options.server_workers) as measured:
            relay = Relay(measured.port)
            sweep = cells(folder / "counted", 3, options.size, options.iterations)
            requests = counted(relay, sweep, Store(relay.uri, "counted", options.canvas_steps), calls)
            relay.close()
            painted = cells(folder / "painted", options.cells, options.size, options.iterations)
            megabytes = float(calls.rows[1][2]) / 1000
            for processes in options.processes:
                taken = []
                for repeat in range(options.repeats):
                    place = folder / f"{processes}-{repeat}"
                    sweep = Path(shutil.copytree(painted, place))
                    store = Store(measured.uri, "timed", options.canvas_steps)
                    taken.append(timed(sweep, store, processes))
                seconds, spent = min(taken, key=itemgetter(0))
                a_second = options.cells / seconds
                rates.add(
                    processes,
                    options.cells,
                    seconds,
                    a_second,
                    a_second * requests,
                    a_second * megabytes,
                    *(spent[kind] / options.cells for kind in kinds),
                )
    publish("What a tracking server must take", [calls, rates], device_of("cpu"), options.out)


if __name__ == "__main__":
    main()
