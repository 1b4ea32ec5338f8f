"""The page of a sweep: one HTML file, read from disk or as an MLflow artifact, that needs nothing else.

Made from run directories alone, so an old sweep, a resumed one or half of one has its page too. What
can be seen without the script (canvases, images, numbers) is HTML; videos and curves are data that the
script shows. The security policy admits that script and style by their hashes, and no network at all.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nst.errors import NstError
from nst.io.files import atomic_write
from nst.report.grid import Grid, grid
from nst.report.page.cell import RESULTS, SCORES, TERMS, moment, number
from nst.report.page.frame_strip import MOST_STRIPS, FrameStrips
from nst.report.page.pictures import Pictures
from nst.report.page.section import Section
from nst.runs.record import SweepRecord
from nst.tracking.tracked import tracked_run

__all__ = ["write_page"]

PARTS = Path(__file__).parent
FEW = 3  # columns: so few canvases are shown larger


def write_page(sweep_dir: Path, grids: Mapping[Path, Grid] | None = None) -> Path:
    """Write `index.html` of a sweep, or of a sweep of sweeps with all its grids; return its path.

    A grid that has not begun says so.

    Args:
        sweep_dir: the sweep directory.
        grids: those that have been read before.

    Raises:
        NstError: `sweep_dir` does not exist, or has neither runs nor grids.
    """
    sweep, known = SweepRecord.read(sweep_dir, lenient=True), grids or {}
    found: dict[str, Grid | None]
    if sweep.grids is None:
        found = {"": known.get(sweep_dir) or grid(sweep_dir)}
    else:
        found = {name: known.get(sweep_dir / name) or _begun(sweep_dir / name) for name in sweep.grids}
    pictures = Pictures(sum(each.count for each in found.values() if each))
    sections, canvases = dict[str, Section | None](), 0
    for index, (name, each) in enumerate(found.items()):
        sections[name] = Section(sweep_dir / name, each, index, canvases, pictures) if each else None
        canvases += each.count if each else 0
    page = _render(sweep_dir, sweep, sections, canvases, pictures)
    path = sweep_dir / "index.html"
    with atomic_write(path) as temporary:
        # A lone surrogate, which JSON and file names can hold, is no text that can be encoded.
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return path


def _begun(folder: Path) -> Grid | None:
    """The grid of a sweep; None if it has not begun."""
    try:
        return grid(folder)
    except NstError:
        return None


@cache
def _templates() -> Environment:
    """What makes HTML: text that goes into it is escaped, and can be no markup."""
    made = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"moment": moment, "number": number}
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return made


def _render(
    folder: Path, sweep: SweepRecord, grids: Mapping[str, Section | None], canvases: int, pictures: Pictures
) -> str:
    sections = [section for section in grids.values() if section]
    collection = sweep.grids is not None
    title = sweep.title or sweep.name or folder.resolve().name
    served = [
        run
        for section in sections
        for run in (section.tracked, *(cell.tracked for cell in section.cells.values()))
    ]
    style = (PARTS / "page.css").read_text()
    script = "".join((PARTS / name).read_text() for name in ("curves.js", "page.js"))
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return (
        _templates()
        .get_template("page.html")
        .render(
            policy=policy,
            style=style,
            script=script,
            title=title if collection else sections[0].title,
            collection=collection,
            sweep=sweep,
            tracked=tracked_run(folder),
            grids=grids,
            canvases=canvases,
            pictures=pictures,
            data=_data(sections),  # names pictures, some of which are not shown elsewhere
            results=RESULTS,
            scores=[key for key in SCORES if any(key in section.results for section in sections)],
            commands=sorted({run.command for run in served if run and run.command}),
            most_strips=MOST_STRIPS,
            few=FEW,
        )
    )


def _data(sections: Sequence[Section]) -> dict[str, Any]:
    """What the script reads: the moments, the videos and the curves of the cells, what to say of them."""
    strips = FrameStrips([cell.run for section in sections for cell in section.cells.values() if cell.canvas])
    known: dict[tuple[bytes, ...], int] = {}  # cells that were painted once share one
    cells = []
    for section in sections:
        for (row, column), cell in section.cells.items():
            strip = strips.of(cell.run) if cell.canvas else None
            cells.append(
                {
                    "grid": section.index,
                    "row": row,
                    "column": column,
                    "label": cell.label,
                    "head": section.grid.column_labels[column].partition("\n")[0],
                    "strip": known.setdefault(strip.frames, len(known)) if strip and strip.frames else None,
                    "size": strip.size if strip else (0, 0),
                    "last": strip.last if strip else 0,
                    "shows": strip.shows if strip else [],
                    "curve": cell.curve(),
                    "inputs": section.pairs(cell),
                    "facts": cell.facts(section.varying),
                }
            )
    return {
        "times": strips.times,
        "terms": {term: RESULTS[term][0] for term in TERMS},
        "strips": [[base64.b64encode(frame).decode() for frame in frames] for frames in known],
        "cells": cells,
    }


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
