"""`python -m benchmarks`: every script, its tables into benchmarks/tables/MACHINE/."""

import argparse
import re
import subprocess
import sys

from benchmarks.common import device_of, machine
from nst.config.paths import ROOT

# What each script is given with --short: minutes on two cores, to see that all of it works.
SHORT = {
    "iteration": ["--size", "64", "--repeats", "2"],
    "lbfgs": ["--pairs", "10", "100", "--batches", "1", "3", "--repeats", "2"],
    "losses": ["--sizes", "32", "--repeats", "2"],
    "depths": ["--size", "32", "--repeats", "2"],
    "engine": ["--sizes", "64", "--iterations", "4", "--filling", "8", "--repeats", "2"],
    "sweep": ["--presets", "noise_adam", "visualize_both", "--", "size=32", "iterations=4"],
    "start": ["--cells", "20", "--repeats", "1"],
    "host": ["--tracking", "none", "--", "experiment=readme/visualize_both", "iterations=40"],
    "tracking": ["--cells", "3", "--sqlite"],
    "scales": [
        *("--sizes", "64", "--smallest", "32", "--iterations", "4", "--first", "2", "--further", "2"),
    ],
    "scaling": ["--size", "32", "--iterations", "4", "--rows", "1", "2"],
}


def main() -> None:
    """Run them one after the other, each in a process of its own; stop where one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--short", action="store_true", help="small sizes, few rounds, no files")
    options = parser.parse_args()
    name = re.sub(r"[^a-z0-9]+", "-", machine(device_of(options.device)).lower()).strip("-")
    for script, short in SHORT.items():
        command = [sys.executable, "-m", f"benchmarks.{script}", "--device", options.device]
        if options.short:
            command += short
        else:
            command += ["--out", f"benchmarks/tables/{name}/{script}.md"]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
