"""What a person says of a run or a sweep: `name=`, `tags=[…]`, `notes=…`."""

from collections.abc import Iterable
from dataclasses import dataclass

from nst.runs.reader import Run


@dataclass(frozen=True)
class Description:
    """A name, tags and notes; empty where nothing was said. They decide nothing about a canvas."""

    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Description":
        """What was said of all of some runs, and the tags of any."""
        said = [cls._of_run(run) for run in runs if run.config]
        names, notes = {one.name for one in said}, {one.notes for one in said}
        tags = dict.fromkeys(tag for one in said for tag in one.tags)
        return cls(
            names.pop() if len(names) == 1 else "", tuple(tags), notes.pop() if len(notes) == 1 else ""
        )

    @classmethod
    def _of_run(cls, run: Run) -> "Description":
        name, tags, notes = (run.value(key) for key in ("name", "tags", "notes"))
        return cls(str(name or ""), tuple(map(str, tags or ())), str(notes or ""))

    @property
    def text(self) -> str:
        """All of it as one text, to be searched."""
        return " ".join([self.name, *self.tags, self.notes])
