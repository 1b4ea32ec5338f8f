"""What there is so far of a run while it is painted, for those who watch; it is gone with its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nst.runs.json_record import RecordFile, as_count, as_moment, as_numbers, as_text, json_key
from nst.runs.record import RunRecord, Status


@dataclass(frozen=True, kw_only=True)
class Painting(RecordFile):
    """How far a run is.

    Attributes:
        started: as in the `run.json` that it belongs to.
        at: when this was written.
        iteration: that of the picture, and of the last losses.
        iterations: in all.
        table: the name of the file that has its losses so far, as `losses.csv` will.
        losses: the last ones.
    """

    # Named as temporaries of run.json and canvas.png, and so removed with them where a process was killed.
    NAME = ".run-painting.json"
    NEEDED = ("started", "at", "iteration", "iterations", "table")
    PICTURE = ".canvas-painting.png"

    started: str = json_key(as_moment, "")
    at: str = json_key(as_moment, "")
    iteration: int = json_key(as_count, 0)
    iterations: int = json_key(as_count, 0)
    table: str = json_key(as_text, "")
    losses: Mapping[str, float] = json_key(as_numbers, dict)

    @property
    def text(self) -> str:
        """How far it is, in words."""
        return f"iteration {self.iteration + 1:,} of {self.iterations:,}"

    @property
    def share(self) -> float:
        """How far it is, up to 1."""
        return (self.iteration + 1) / self.iterations if self.iterations else 0.0

    @classmethod
    def of(cls, folder: Path, record: RunRecord) -> "Painting | None":
        """That of a run that is being painted; None if nothing is known of it, or it is not."""
        if record.status is not Status.RUNNING:
            return None
        found = cls.read(folder, lenient=True)
        return found if found.started == record.started and found.iterations and found.table else None

    @classmethod
    def remove(cls, folder: Path) -> None:
        """It is over."""
        for name in (cls.NAME, cls.PICTURE):
            (folder / name).unlink(missing_ok=True)
