"""All of the README's cells but their painting, for which a clock stands (`benchmarks/clock.py`).

    python -m benchmarks.host --commit COMMIT

What a GPU leaves to the processor: composing, encoding, scoring, drawing, logging. Each command runs in a
process of its own, with the code of the other commit in turns with ours. The weights are in the cache.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Table, arguments, device_of, publish
from benchmarks.start import codes
from nst.config.paths import ROOT


def taken(code: Path, tracking: str, overrides: list[str]) -> tuple[float, ...]:
    """Seconds until painting begins, until it is over, after it; all, the processor's, the clock's.

    Raises:
        SystemExit: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "benchmarks/clock.py"), "-m", "model=vgg16", "resume=false"]
        command += [f"outputs={folder}/outputs", f"tracking={tracking}", "hardware.device=cpu", *overrides]
        command += [f"tracking.uri=sqlite:///{folder}/mlflow.db"] if tracking == "mlflow" else []
        known = {**os.environ, "PYTHONPATH": str(code)}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True)
        after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"{' '.join(command)} failed; its output is above")
    begins, ends = (
        [float(at) for at in re.findall(rf"^clock {what} (.*)$", done.stderr, re.MULTILINE)]
        for what in ("painting", "painted")
    )
    by_clock = sum(end - begin for begin, end in zip(begins, ends, strict=True))
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    phases = begins[0] - began, ends[-1] - begins[0], ended - ends[-1]
    return *phases, sum(phases), processor, by_clock


def main() -> None:
    """A row a commit and way of tracking."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=1)
    parser.add_argument("--commit", help="what to compare with")
    parser.add_argument("--tracking", nargs="+", default=["none", "mlflow"], choices=["none", "mlflow"])
    parser.add_argument("overrides", nargs="*", help="for run.py, after --: experiment=readme/noise_adam")
    options = parser.parse_args()
    overrides = options.overrides or ["experiment=glob(readme/*)"]
    parts = ("before painting", "painting to painted", "after it", "all", "of processor", "by the clock")
    table = Table("Seconds", ["tracking", "code", *parts])
    with tempfile.TemporaryDirectory() as temporary, codes(options.commit, Path(temporary)) as compared:
        for tracking in options.tracking:
            best: dict[str, tuple[float, ...]] = {}
            for _ in range(options.repeats):
                for which, code in compared.items():
                    now = taken(code, tracking, overrides)
                    best[which] = min(now, best.get(which, now), key=lambda times: times[3])
            for which, times in best.items():
                table.add(tracking, which, *times)
    publish("The host's part of the README's presets", [table], device_of("cpu"), options.out)


if __name__ == "__main__":
    main()
