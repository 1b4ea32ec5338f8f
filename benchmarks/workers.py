"""Two CPU workers against one process: the same preset, in turns; and whether the canvases agree."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import Table, arguments, device_of, publish
from nst.config.paths import ROOT
from nst.runs.record import RunRecord

CREWS = {
    "one process, all threads": [],
    "one worker": ["hydra.launcher.devices=[cpu]"],
    "two workers": ["hydra.launcher.devices=[cpu,cpu]"],
}


def paint(sweep: Path, crew: list[str], given: list[str]) -> tuple[float, float]:
    """Seconds from the command to its end, and from the begin of the first cell to the end of the last."""
    command = [sys.executable, "run.py", "-m", "tracking=none", f"hydra.sweep.dir={sweep}"]
    command += [f"outputs={sweep}", "resume=false", "hardware.device=cpu", *crew, *given]
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    whole = time.perf_counter() - began
    records = [RunRecord.load(path.parent) for path in sweep.glob(f"*/{RunRecord.NAME}")]
    stamps = [np.datetime64(str(at)[:26]) for record in records for at in (record.started, record.ended)]
    return whole, float((max(stamps) - min(stamps)) / np.timedelta64(1, "s"))


def main() -> None:
    """A row for who paints."""
    parser = arguments(__doc__ or "")
    parser.add_argument("given", nargs="*", help="for run.py, after --: experiment=readme/noise_adam size=64")
    options = parser.parse_args()
    columns = ["who paints", "painting, s", "speed-up", "command, s", "levels apart, at most"]
    table = Table(" ".join(options.given), columns)
    best: dict[str, tuple[float, float]] = {}
    apart: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(options.repeats):
            first: Path | None = None
            for name, crew in CREWS.items():
                sweep = Path(temporary, str(number), name.replace(" ", "-").replace(",", ""))
                whole, painting = paint(sweep, crew, options.given)
                best[name] = min(best.get(name, (np.inf, np.inf)), (painting, whole))
                first = first or sweep
                apart[name] = max(apart.get(name, 0), _apart(first, sweep))
    alone = best["one process, all threads"][0]
    for name, (painting, whole) in best.items():
        table.add(name, painting, alone / painting, whole, apart[name])
    publish("Workers", [table], device_of("cpu"), options.out)


def _apart(one: Path, other: Path) -> int:
    """The largest difference between canvases of two sweeps, of 255 levels."""
    cells = [path.parent.name for path in one.glob("*/canvas.png")]
    pixels = [
        [np.asarray(Image.open(sweep / cell / "canvas.png"), int) for cell in cells] for sweep in (one, other)
    ]
    return int(np.abs(np.array(pixels[0]) - np.array(pixels[1])).max())


if __name__ == "__main__":
    main()
