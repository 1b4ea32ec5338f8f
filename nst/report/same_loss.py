"""Iterations to the same loss: when a run first had the final loss of another run with the same objective.

Total losses can be compared only where they are the same function of the canvas: the same images, layers,
weights, activation, size and network. Optimizer, initial image, seed and iterations may differ.

    python -m nst.same_loss FOLDER...    runs, sweeps, or folders above them; a table for each objective
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nst.errors import NstError
from nst.io.arguments import OneLineParser
from nst.measures.losses import first_at, objective, totals
from nst.runs.reader import Run, read_run
from nst.runs.record import RunRecord


@dataclass(frozen=True)
class Descent:
    """The total losses of a finished run, one an iteration."""

    run: Run
    totals: Sequence[float]

    @property
    def final(self) -> float:
        """The loss it ended with."""
        return self.totals[-1]

    def first_at(self, loss: float) -> int | None:
        """The number of evaluations after which it first had at most `loss`; None if it never had."""
        return first_at(self.totals, loss)


def descents(runs: Sequence[Run]) -> list[list[Descent]]:
    """The finished runs that share an objective, in groups of two or more; other runs are left out."""
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        if run.record.finished and run.config:
            groups.setdefault(_objective(run), []).append(run)
    shared = [group for group in groups.values() if len(group) > 1]
    read = [[Descent(run, found) for run in group if (found := totals(run))] for group in shared]
    return [group for group in read if len(group) > 1]


def to_common_loss(runs: Sequence[Run]) -> dict[Path, int]:
    """By run directory, the evaluations to the loss that all runs with its objective have in the end.

    That is the highest of their final losses. Runs that are alone with their objective are left out.
    """
    found: dict[Path, int] = {}
    for group in descents(runs):
        common = max(descent.final for descent in group)
        for descent in group:
            count = descent.first_at(common)
            assert count is not None  # its own final loss is not above
            found[descent.run.folder] = count
    return found


def _objective(run: Run) -> tuple[tuple[str, str], ...]:
    """What the total loss of a run is a function of."""
    parts = objective(run.parameters().items())
    return (*sorted(parts.items()), ("network", str(run.record.model.weights)))


def _runs_in(folder: Path) -> list[Run]:
    """The runs of a run directory, a sweep, or all that is below a folder, each canvas once."""
    if not folder.is_dir():
        raise NstError(f"{folder}: no such folder; give that of a run, of a sweep, or one above them")
    found: dict[str, Run] = {}
    for path in sorted(folder.rglob(RunRecord.NAME)):
        run = read_run(path.parent)
        found.setdefault(run.record.identity or str(path), run)
    return list(found.values())


def table(group: Sequence[Descent]) -> str:
    """A group as a Markdown table: after how many evaluations each run had the final loss of each."""
    parameters = [descent.run.parameters() for descent in group]
    differing = [
        key
        for key in dict.fromkeys(key for found in parameters for key in found)
        if len({found.get(key) for found in parameters}) > 1
    ]
    numbers = range(1, len(group) + 1)
    heads = ["", *differing, "final loss", *(f"reaches that of {number} at" for number in numbers)]
    rows = []
    for number, descent, found in zip(numbers, group, parameters, strict=True):
        reached = [descent.first_at(other.final) for other in group]
        values = [found.get(key, "") for key in differing]
        rows.append([str(number), *values, f"{descent.final:.4g}", *(str(at or "never") for at in reached)])
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(run: Run) -> str:
    """What the runs of a group have in common, as far as it tells one objective from another."""
    layers = [f"{kind} {' '.join(run.layers(kind))}" for kind in ("content", "style") if run.layers(kind)]
    parameters = run.parameters()  # unresolved: `${root:...}` means something inside Hydra only
    images = [Path(parameters.get(f"images.{kind}", "")).name.rstrip("}") for kind in ("content", "style")]
    facts = [run.value("mode"), *images, *layers, run.value("activation"), f"{run.value('size')} px"]
    return " · ".join(map(str, facts))


def main(arguments: list[str] | None = None) -> int:
    """Print a table for each objective that two or more runs in the given folders share."""
    parser = OneLineParser(prog="python -m nst.same_loss", description=main.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of runs or sweeps")
    try:
        folders = parser.parse_args(arguments).folders
        groups = descents([run for folder in folders for run in _runs_in(folder)])
        if not groups:
            given = " ".join(map(str, folders))
            raise NstError(f"{given}: no two finished runs in it have the same objective")
        print("\n\n".join(f"{_title(group[0].run)}\n\n{table(group)}" for group in groups))
    except (NstError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
