"""What is there before and after the painting: the start of run.py, its tracking, the plan of many cells.

    python -m benchmarks.start --commit COMMIT

Each command runs in a process of its own, those of the other commit in turns with ours. The weights are in
the cache. Processor time is less moved by what else the machine does than the seconds that pass.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import Table, arguments, device_of, publish
from nst.config.paths import ROOT

CELL = ["model=vgg16", "size=32", "iterations=4", "hardware.device=cpu"]


def commands(folder: Path, cells: int) -> dict[str, list[str]]:
    """What is timed, for run.py; what it makes is in a folder that is new each time."""
    place = [f"hydra.run.dir={folder}/run", f"outputs={folder}/outputs"]
    values = ",".join(map(str, range(1, cells + 1)))
    sweep = [f"hydra.sweep.dir={folder}/sweep", f"outputs={folder}/outputs", f"weights.style={values}"]
    return {
        "--help": ["--help"],
        "one cell, tracking=none": [*CELL, *place, "tracking=none"],
        "one cell, a new store": [*CELL, *place, f"tracking.uri=sqlite:///{folder}/new.db"],
        "one cell, a store that is there": [*CELL, *place, f"tracking.uri=sqlite:///{folder.parent}/old.db"],
        f"plan of {cells} cells": ["-m", "plan=true", *CELL, *sweep, "tracking=none"],
    }


def taken(code: Path, given: list[str]) -> tuple[float, float]:
    """Seconds, and processor seconds, of run.py with the code in a folder."""
    known = {**os.environ, "PYTHONPATH": str(code), "HYDRA_FULL_ERROR": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, code / "run.py", *given], cwd=code, env=known, check=True, capture_output=True
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def codes(commit: str | None, folder: Path) -> Iterator[dict[str, Path]]:
    """The folders of what is compared."""
    if commit is None:
        yield {"now": ROOT}
        return
    old = folder / "code"
    subprocess.run(["git", "worktree", "add", "--detach", old, commit], cwd=ROOT, check=True)
    try:
        yield {"before": old, "now": ROOT}
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", old], cwd=ROOT, check=True)


def main() -> None:
    """A row a command."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--commit", help="what to compare with")
    parser.add_argument("--cells", type=int, default=1000, help="of the plan")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, codes(options.commit, Path(temporary)) as compared:
        columns = [f"{name}, {unit}" for unit in ("s", "s of processor") for name in compared]
        table = Table("From the start of Python to its end", ["command", *columns])
        for number, name in enumerate(commands(Path(temporary), options.cells)):
            best: dict[str, tuple[float, float]] = {}
            for repeat in range(options.repeats):
                for which, code in compared.items():
                    folder = Path(temporary, which, f"{number}-{repeat}")
                    folder.mkdir(parents=True)
                    now = taken(code, commands(folder, options.cells)[name])
                    best[which] = min(now[0], best.get(which, now)[0]), min(now[1], best.get(which, now)[1])
            table.add(name, *(seconds for kind in zip(*best.values(), strict=True) for seconds in kind))
    publish("The start", [table], device_of("cpu"), options.out)


if __name__ == "__main__":
    main()
