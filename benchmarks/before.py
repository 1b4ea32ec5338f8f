"""Is painting as fast as it was at another commit? Whole runs of both, in turns, in one go.

    python -m benchmarks.before --commit COMMIT

What is compared is `painting_seconds` of run.json: the engine with all that goes on beside it (frames,
losses, checkpoints), without the start of Python.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import Table, arguments, device_of, publish
from nst.config.paths import ROOT

CELLS = {
    "adam, 1 cell, 128 px": ["optimizer=adam", "size=128"],
    "lbfgs, 1 cell, 128 px": ["optimizer=lbfgs", "size=128"],
    "adam, 4 cells, 64 px": ["optimizer=adam", "size=64", "seed=0,1,2,3"],
}


def seconds(code: Path, folder: Path, cell: list[str]) -> float:
    """What the painting takes with the code in a folder."""
    sweep = folder / "sweep"
    shutil.rmtree(sweep, ignore_errors=True)  # a folder that holds other cells is not painted in
    command = [sys.executable, str(code / "run.py"), "-m", "model.weights=random", "tracking=none"]
    command += [*cell, f"hydra.sweep.dir={sweep}", "resume=false", f"outputs={folder}/outputs"]
    known = {**os.environ, "PYTHONPATH": str(code), "HYDRA_FULL_ERROR": "1"}
    subprocess.run(command, cwd=code, env=known, check=True, capture_output=True)
    record = json.loads((sweep / "0/run.json").read_text())
    return float(record["timings"]["painting_seconds"])


def main() -> None:
    """A row a kind of cell."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--commit", required=True, help="what to compare with")
    parser.add_argument("overrides", nargs="*", help="for run.py, after --")
    options = parser.parse_args()
    columns = ["cells", "before, s", "now, s", "now / before"]
    table = Table(f"Painting at {options.commit} and now", columns)
    with tempfile.TemporaryDirectory() as temporary:
        old, place = Path(temporary, "code"), Path(temporary, "runs")
        subprocess.run(["git", "worktree", "add", "--detach", old, options.commit], cwd=ROOT, check=True)
        try:
            for name, cell in CELLS.items():
                cell = [*cell, f"hardware.device={device_of(options.device)}", *options.overrides]
                taken: dict[Path, list[float]] = {old: [], ROOT: []}
                for _ in range(options.repeats):
                    for code, times in taken.items():
                        times.append(seconds(code, place, cell))
                before, now = min(taken[old]), min(taken[ROOT])
                table.add(name, before, now, f"{now / before:.4f}")
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", old], cwd=ROOT, check=True)
    publish("Painting, before and now", [table], device_of(options.device), options.out)


if __name__ == "__main__":
    main()
