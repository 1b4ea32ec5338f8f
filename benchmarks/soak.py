"""Kill sweeps again and again, and count what was lost.

First one of 30 cells, at random moments. Each attempt is a process forked from one that has imported all, so
that the kills fall into composing, painting, writing, logging and ending, and not into the seconds that
Python takes to start. Some attempts ask for other cells in the same folder: in another order, fewer, or with
a value inserted. When the sweep is finished it is compared with one that nobody disturbed, and another is
begun, until there were enough kills.

Then one of 3 cells, before each file operation from the end of its painting on, and each time finished by
the same command.
"""

import csv
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import mlflow.tracking  # as all that is imported here, before the processes that are killed are forked
import numpy as np
from PIL import Image

from benchmarks.common import Table, arguments, device_of, publish
from benchmarks.killed import kill_before
from nst.app import app
from nst.cli import run_app
from nst.config.paths import ROOT
from nst.io.files import read_json
from nst.io.signals import install_handlers
from nst.report.build import rebuild
from nst.runs.checkpoint import BATCHES
from nst.runs.checkpoint import CELLS as CHECKPOINT_CELLS

# In double precision, because cells are batched differently after a kill and are compared by pixel.
ITERATIONS, CELLS = 12, 30
GRID = [
    *("-m", "model=vgg16", "model.weights=random", "size=24", f"iterations={ITERATIONS}", "save_every=4"),
    *("hardware.device=cpu", "hardware.precision=fp64", "hardware.max_batch=5", "hardware.checkpoint=0.1"),
    *("optimizer=adam,lbfgs", "content_layers=conv1_1,conv2_1,conv3_1"),
]
SEEDS = "seed=0,1,2,3,4"
# What some of the attempts ask for in the same folder instead.
OTHERS = ("seed=4,3,2,1,0", "seed=0,1", "seed=0,7,1,2,3,4", "seed=1,2,3,4", "seed=8")
SHORT = [*GRID, "optimizer=adam", "content_layers=conv1_1", "seed=0,1,2", "tracking=none"]
SHORT += ["hydra.sweep.dir=outputs/sweep"]
SIGNALS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
}
# Of the time of an undisturbed sweep, what the first attempt at one gets at most, and each further one of
# what the one before got: so that kills fall everywhere, and it ends.
SHARE, MORE = 0.35, 1.15
OTHER = 0.2  # of the attempts ask for other cells


def attempt(place: Path, arguments: list[str], when: int | None = None) -> int:
    """Start the sweep in `place`, in a process group of its own; its process id.

    With `when` it kills itself before the file operation of that number after its painting.
    """
    child = os.fork()
    if child:
        return child
    os.setsid()
    with (place / "stderr").open("w") as said:
        os.dup2(said.fileno(), 2)
        os.dup2(said.fileno(), 1)
    os.chdir(place)
    sys.argv = ["run.py", *arguments]
    install_handlers()
    if when is not None:
        kill_before(when)
    try:
        os._exit(run_app(app))
    finally:
        os._exit(1)


def disturbed(
    place: Path, arguments: list[str], chance: random.Random, latest: float
) -> tuple[str, int | None]:
    """One attempt, killed `latest` seconds after its start at most.

    Returns:
        By which signal it ended, and with which exit code; None for SIGKILL.
    """
    child = attempt(place, arguments)
    kind = chance.choices(list(SIGNALS), weights=(6, 2, 1, 1))[0]
    until = time.monotonic() + chance.uniform(0, latest)
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "nothing", os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    for number in SIGNALS[kind]:
        os.killpg(child, number)
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return kind, None if code == -signal.SIGKILL else code


def finished(place: Path) -> dict[str, set[str]]:
    """When the finished cells of all sweeps in `place` were begun to be painted, by their identities."""
    found: dict[str, set[str]] = {}
    for path in place.rglob("run.json"):
        record = json.loads(path.read_text())
        if record["status"] == "finished":
            found.setdefault(record["identity"], set()).add(record["started"])
    return found


def broken(sweep: Path) -> list[str]:
    """The files of a sweep that cannot be read, temporary ones left aside."""
    found = []
    for path in sweep.rglob("*"):
        if path.name.startswith(".") or ".batches" in path.parts or not path.is_file():
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".png", ".webp"):
                Image.open(path).load()
            elif path.suffix == ".mp4":
                imageio.mimread(path, memtest=False)
            elif path.suffix == ".csv":
                rows = list(csv.reader(path.open()))
                assert len({len(row) for row in rows}) == 1
        except Exception as error:
            found.append(f"{path}: {error}")
    return found


def compare(sweep: Path, pure: Path, cells: int) -> list[str]:
    """What is wrong with a sweep that came to its end."""
    wrong = []
    for cell in map(str, range(cells)):
        mine, theirs = (np.asarray(Image.open(folder / cell / "canvas.png")) for folder in (sweep, pure))
        if not np.array_equal(mine, theirs):
            wrong.append(f"cell {cell}: {(mine != theirs).mean():.2%} of its pixels differ")
        rows = (sweep / cell / "losses.csv").read_text().splitlines()
        if len(rows) != ITERATIONS + 1:
            wrong.append(f"cell {cell}: {len(rows) - 1} rows of losses")
        identities = [
            json.loads((folder / cell / "run.json").read_text())["identity"] for folder in (sweep, pure)
        ]
        if identities[0] != identities[1]:
            wrong.append(f"cell {cell}: is another cell")
    there = {path.name for path in sweep.iterdir() if path.is_dir()}
    if there != set(map(str, range(cells))):
        wrong.append(f"the sweep has {sorted(there)}")
    # A checkpoint of other cells, which nobody has asked for again, may be resumed one day.
    known = finished(sweep.parent)
    wrong += [
        f"{folder}: is left, and its cells are finished"
        for folder in sweep.parent.glob(f"{BATCHES}/*/")
        if set(read_json(folder / CHECKPOINT_CELLS).get("identities", [])) <= known.keys()
    ]
    if not all((sweep / name).is_file() for name in ("sheet.png", "sheet.mp4", "index.html")):
        wrong.append("a sheet or the page is missing")
    rebuild(sweep)  # or it raises what cannot be read
    return wrong


def logged(sweep: Path, database: Path) -> list[str]:
    """What is wrong with the runs in MLflow of a sweep that came to its end."""
    runs = mlflow.tracking.MlflowClient(f"sqlite:///{database}").search_runs(["1"])
    places = Counter(entry.data.tags["nst.run_dir"] for entry in runs)
    wrong = [f"MLflow has {count} runs of {place}" for place, count in places.items() if count > 1]
    mine = [entry for entry in runs if Path(entry.data.tags["nst.run_dir"]).is_relative_to(sweep)]
    if len(mine) != CELLS + 1 or {entry.info.status for entry in mine} != {"FINISHED"}:
        wrong.append(f"MLflow has {len(mine)} runs: {dict(Counter(entry.info.status for entry in mine))}")
    return wrong


def main() -> None:
    """Kill until there were enough, and publish the counts."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "200"}
    chance, ends, counts = random.Random(options.seed), Counter[str](), Counter[str]()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        pure = top / "pure"
        began = time.monotonic()
        undisturbed(pure, [*GRID, SEEDS, "tracking=none", "hydra.sweep.dir=outputs/sweep"])
        latest = SHARE * (time.monotonic() - began)
        while sum(ends.values()) < options.kills and not wrong:
            place = top / str(counts["sweeps"])
            place.mkdir()
            wrong += one(place, pure / "outputs/sweep", chance, latest, ends, counts)
        wrong += ended(top, counts)
    table = Table(f"{sum(ends.values())} kills of a sweep of {CELLS} cells", ["what", "count"])
    rows: dict[str, Any] = {f"killed by {kind}": ends[kind] for kind in SIGNALS}
    rows |= counts
    rows["things lost or wrong"] = len(wrong)
    for what, count in rows.items():
        table.add(what, count)
    publish("Soak", [table], device_of("cpu"), options.out)
    print(*wrong, sep="\n")
    raise SystemExit(bool(wrong))


def undisturbed(place: Path, arguments: list[str]) -> None:
    """Let a sweep come to its end."""
    place.mkdir(exist_ok=True)
    if os.waitpid(attempt(place, arguments), 0)[1]:
        raise SystemExit((place / "stderr").read_text())


def ended(top: Path, counts: Counter[str]) -> list[str]:
    """Kill a short sweep before each file operation of its end; returns what is wrong."""
    undisturbed(top / "short", SHORT)
    wrong: list[str] = []
    for when in itertools.count():
        place = top / f"short-{when}"
        place.mkdir()
        if os.waitpid(attempt(place, SHORT, when), 0)[1] == 0:
            return wrong
        counts["killed before a file operation of the end"] += 1
        known = finished(place)
        undisturbed(place, SHORT)
        now = finished(place)
        wrong += [f"operation {when}: a cell was painted again" for cell in known if now[cell] != known[cell]]
        same = compare(place / "outputs/sweep", top / "short/outputs/sweep", 3)
        wrong += [f"operation {when}: {what}" for what in (*broken(place), *same)]
        shutil.rmtree(place)
    raise AssertionError


def one(
    place: Path,
    pure: Path,
    chance: random.Random,
    latest: float,
    ends: Counter[str],
    counts: Counter[str],
) -> list[str]:
    """Kill one sweep until it is finished; returns what is wrong with it."""
    database, known = place / "mlflow.db", dict[str, set[str]]()
    arguments = [*GRID, f"tracking.uri=sqlite:///{database}", "hydra.sweep.dir=outputs/sweep"]
    wrong, code, seeds = [], None, ""
    while (code, seeds) != (0, SEEDS):
        seeds = chance.choice(OTHERS) if chance.random() < OTHER else SEEDS
        counts["attempts at other cells in the same folder"] += seeds != SEEDS
        kind, code = disturbed(place, [*arguments, seeds], chance, latest)
        if kind != "nothing":
            ends[kind] += 1
        expected = {0, 143 if kind == "SIGTERM" else 130} if kind != "nothing" else {0}
        if code is not None and code not in expected:
            wrong.append(f"{kind}: exit code {code}; {(place / 'stderr').read_text()[-500:]}")
            break
        latest *= MORE
        if "Traceback" in (said := (place / "stderr").read_text()):
            wrong.append(f"{kind}: {said[said.index('Traceback') - 200 :]}")
        now = finished(place)
        wrong += [
            f"cell {cell[:8]} is gone, or painted again" for cell in known if now.get(cell) != known[cell]
        ]
        wrong += [
            f"cell {cell[:8]} was painted {len(began)} times" for cell, began in now.items() if len(began) > 1
        ]
        known = now
        wrong += broken(place / "outputs")
    counts["sweeps"] += 1
    counts["cells finished once"] += len(known)
    if wrong:
        return wrong
    told = re.search(r"; painting in (\S+)", (place / "stderr").read_text())
    sweep = place / (told[1] if told else "outputs/sweep")
    return [*compare(sweep, pure, CELLS), *logged(sweep, database)]


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
