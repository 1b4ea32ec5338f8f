"""Kill a 30-cell sweep again and again, at random moments, and count what was lost.

Each attempt is a process forked from one that has imported everything, so that the kills fall into composing,
painting, writing, logging and ending, and not into the seconds that Python takes to start. When a sweep is
finished it is compared with one that nobody disturbed, and another is begun, until there were enough kills.
"""

import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hydra
import imageio.v2 as imageio
import mlflow.tracking  # as all that is imported here, before the processes that are killed are forked
import numpy as np
from PIL import Image

from benchmarks.common import Table, arguments, device_of, publish
from nst.cli import guarded, past_hydra
from nst.config import ROOT, register
from nst.gallery import rebuild
from nst.interrupt import install
from nst.job import paint

# In double precision, because cells are batched differently after a kill and are compared by pixel.
ITERATIONS, CELLS = 12, 30
GRID = [
    *("-m", "model=vgg16", "model.weights=random", "size=16", f"iterations={ITERATIONS}", "save_every=4"),
    *("hardware.device=cpu", "hardware.precision=fp64", "hardware.max_batch=5", "hardware.checkpoint=0.1"),
    *("optimizer=adam,lbfgs", "seed=range(0,5)", "content_layers=conv1_1,conv2_1,conv3_1"),
]
SIGNALS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
}
# Of the time of an undisturbed sweep, what the first attempt at one gets at most, and each further one of
# what the one before got: so that kills fall everywhere, and it ends.
SHARE, MORE = 0.35, 1.15

MAIN = hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")(past_hydra(paint))


def attempt(place: Path, arguments: list[str]) -> int:
    """Start the sweep in `place`, in a process group of its own; its process id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    with (place / "stderr").open("w") as said:
        os.dup2(said.fileno(), 2)
        os.dup2(said.fileno(), 1)
    os.chdir(place)
    sys.argv = ["run.py", *arguments]
    try:
        os._exit(guarded(MAIN))
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


def finished(sweep: Path) -> dict[str, str]:
    """When each finished cell of a sweep was begun to be painted."""
    records = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/run.json")}
    return {name: record["started"] for name, record in records.items() if record["status"] == "finished"}


def broken(sweep: Path) -> list[str]:
    """The files of a sweep that cannot be read, temporary ones left aside."""
    found = []
    for path in sweep.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
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


def compare(sweep: Path, pure: Path, database: Path) -> list[str]:
    """What is wrong with a sweep that came to its end."""
    wrong = []
    for cell in map(str, range(CELLS)):
        mine, theirs = (np.asarray(Image.open(folder / cell / "canvas.png")) for folder in (sweep, pure))
        if not np.array_equal(mine, theirs):
            wrong.append(f"cell {cell}: {(mine != theirs).mean():.2%} of its pixels differ")
        rows = (sweep / cell / "losses.csv").read_text().splitlines()
        if len(rows) != ITERATIONS + 1:
            wrong.append(f"cell {cell}: {len(rows) - 1} rows of losses")
    runs = mlflow.tracking.MlflowClient(f"sqlite:///{database}").search_runs(["1"])
    if len(runs) != CELLS + 1 or {entry.info.status for entry in runs} != {"FINISHED"}:
        states = Counter(entry.info.status for entry in runs)
        wrong.append(f"MLflow has {len(runs)} runs: {dict(states)}")
    if not all((sweep / name).is_file() for name in ("sheet.png", "sheet.mp4", "index.html")):
        wrong.append("a sheet or the page is missing")
    rebuild(sweep)  # or it raises what cannot be read
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
        pure.mkdir()
        began = time.monotonic()
        child = attempt(pure, [*GRID, "tracking=none", "hydra.sweep.dir=sweep"])
        if os.waitpid(child, 0)[1]:
            raise SystemExit((pure / "stderr").read_text())
        latest = SHARE * (time.monotonic() - began)
        while sum(ends.values()) < options.kills and not wrong:
            place = top / str(counts["sweeps"])
            place.mkdir()
            wrong += one(place, pure / "sweep", chance, latest, ends, counts)
    table = Table(f"{sum(ends.values())} kills of a sweep of {CELLS} cells", ["what", "count"])
    rows: dict[str, Any] = {f"killed by {kind}": ends[kind] for kind in SIGNALS}
    rows |= counts
    rows["things lost or wrong"] = len(wrong)
    for what, count in rows.items():
        table.add(what, count)
    publish("Soak", [table], device_of("cpu"), options.out)
    print(*wrong, sep="\n")
    raise SystemExit(bool(wrong))


def one(
    place: Path,
    pure: Path,
    chance: random.Random,
    latest: float,
    ends: Counter[str],
    counts: Counter[str],
) -> list[str]:
    """Kill one sweep until it is finished; returns what is wrong with it."""
    sweep, database, known = place / "sweep", place / "mlflow.db", dict[str, str]()
    arguments = [*GRID, f"tracking.uri=sqlite:///{database}", "hydra.sweep.dir=sweep"]
    wrong, code = [], None
    while code != 0:
        kind, code = disturbed(place, arguments, chance, latest)
        if kind != "nothing":
            ends[kind] += 1
        expected = {0, 143 if kind == "SIGTERM" else 130} if kind != "nothing" else {0}
        if code is not None and code not in expected:
            wrong.append(f"{kind}: exit code {code}; {(place / 'stderr').read_text()[-500:]}")
            break
        latest *= MORE
        if "Traceback" in (said := (place / "stderr").read_text()):
            wrong.append(f"{kind}: {said[said.index('Traceback') - 200 :]}")
        now = finished(sweep)
        wrong += [f"cell {cell} was painted again" for cell in known if now.get(cell) != known[cell]]
        known = now
        wrong += broken(sweep)
    counts["sweeps"] += 1
    counts["cells finished once"] += len(known)
    return wrong or compare(sweep, pure, database)


if __name__ == "__main__":
    os.chdir(ROOT)
    install()
    register()
    main()
