"""The README's presets from command to last file: seconds, and cells a second."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Table, arguments, device_of, publish
from nst.config.paths import ROOT

PRESETS = sorted(path.stem for path in (ROOT / "conf/experiment/readme").glob("*.yaml"))
TRACKING = ("none", "mlflow")


def paint(preset: str, tracking: str, overrides: list[str]) -> tuple[float, int]:
    """Seconds that the preset's command takes, start of Python and all, and how many cells it paints.

    Raises:
        SystemExit: the command failed, or a cell did.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run.py", "-m", f"experiment=readme/{preset}"]
        command += [f"tracking={tracking}", f"hydra.sweep.dir={folder}/sweep", *overrides]
        if tracking == "mlflow":
            command.append(f"tracking.uri=sqlite:///{folder}/mlflow.db")
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - started
        records = [json.loads(p.read_text()) for p in Path(folder, "sweep").glob("*/run.json")]
        if done.returncode or not records or any(r["status"] != "finished" for r in records):
            sys.stderr.write(done.stdout.decode(errors="replace"))
            raise SystemExit(f"{preset} with tracking={tracking} failed; its output is above")
    return seconds, len(records)


def main() -> None:
    """One row a preset, one for all of them."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=1)
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS, metavar="NAME")
    parser.add_argument("--tracking", nargs="+", default=TRACKING, choices=TRACKING)
    parser.add_argument("overrides", nargs="*", help="for run.py, after --: size=32 iterations=4")
    options = parser.parse_args()
    device = device_of(options.device)
    overrides = [f"hardware.device={device}", *options.overrides]

    measures = [f"{tracking}, {unit}" for tracking in options.tracking for unit in ("s", "cells/s")]
    table = Table("Seconds from command to last file, by tracking", ["preset", "cells", *measures])
    total, cells = dict.fromkeys(options.tracking, 0.0), 0
    for preset in options.presets:
        best, painted = dict[str, float](), 0
        for _ in range(options.repeats):
            for tracking in options.tracking:
                seconds, painted = paint(preset, tracking, overrides)
                best[tracking] = min(seconds, best.get(tracking, seconds))
        for tracking, seconds in best.items():
            total[tracking] += seconds
        cells += painted
        add(table, preset, painted, best)
    add(table, "all", cells, total)
    publish("The README's presets", [table], device, options.out)


def add(table: Table, name: str, cells: int, seconds: dict[str, float]) -> None:
    """A row with both units."""
    table.add(name, cells, *(v for taken in seconds.values() for v in (taken, cells / taken)))


if __name__ == "__main__":
    main()
