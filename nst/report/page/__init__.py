"""The page of a sweep: one HTML file, read from disk or as an MLflow artifact, that needs nothing else.

Made from run directories alone, so an old sweep, a resumed one or half of one has its page too. What
can be seen without the script (canvases, images, numbers) is HTML; videos and curves are data that the
script shows. The security policy admits that script and style by their hashes, and no network at all.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nst.errors import NstError
from nst.io.files import atomic_write
from nst.report.grid import Grid, grid, grid_of_run
from nst.report.page.cell import CURVE_POINTS, MOST_POINTS, RESULTS, SCORES, TERMS, moment, number
from nst.report.page.frame_strip import MOST_STRIPS, FrameStrips
from nst.report.page.pictures import Pictures
from nst.report.page.section import Section
from nst.runs.description import Description
from nst.runs.record import RunRecord, SweepRecord, now
from nst.tracking.tracked import tracked_run

__all__ = ["read_part", "render", "write_page"]

PARTS = Path(__file__).parent
SCRIPTS = (
    "base.js",
    "curves.js",
    "keep.js",
    "axes.js",
    "page.js",
    "scores.js",
    "compare.js",
    "start.js",
)
FEW = 3  # columns: so few canvases are shown larger


def write_page(folder: Path, grids: Mapping[Path, Grid] | None = None, painting: bool | None = None) -> Path:
    """Write `index.html` of a sweep, of a sweep of sweeps with all its grids, or of a run; return its path.

    A grid that has not begun says so.

    Args:
        folder: the sweep or run directory.
        grids: those that have been read before.
        painting: whether it is being painted, or was until now: then the page is made fast, without frames.

    Raises:
        NstError: `folder` does not exist, or has neither runs nor grids.
    """
    sweep, known = SweepRecord.read(folder, lenient=True), grids or {}
    found: dict[str, Grid | None]
    if sweep.grids is not None:
        found = {name: known.get(folder / name) or _begun(folder / name) for name in sweep.grids}
    elif (folder / RunRecord.NAME).is_file():
        found = {"": grid_of_run(folder)}
    else:
        found = {"": known.get(folder) or grid(folder)}
    pictures = Pictures(sum(each.count for each in found.values() if each))
    sections, canvases = dict[str, Section | None](), 0
    for index, (name, each) in enumerate(found.items()):
        inside = sweep.grids is not None
        place, watched = folder / name, bool(painting)
        section = Section(place, each, index, canvases, pictures, inside, watched) if each else None
        sections[name] = section
        canvases += each.count if each else 0
    page = _render(folder, sweep, sections, canvases, pictures, painting)
    path = folder / "index.html"
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
    folder: Path,
    sweep: SweepRecord,
    grids: Mapping[str, Section | None],
    canvases: int,
    pictures: Pictures,
    painting: bool | None,
) -> str:
    sections = [section for section in grids.values() if section]
    collection = sweep.grids is not None
    said = Description.of(cell.run for section in sections for cell in section.cells.values())
    title = said.name or sweep.title or sweep.name or folder.resolve().name
    served = [
        run
        for section in sections
        for run in (section.tracked, *(cell.tracked for cell in section.cells.values()))
    ]
    style, script = read_part("page.css"), "".join(map(read_part, SCRIPTS))
    return render(
        "page.html",
        style,
        script,
        title=title if collection else sections[0].title,
        collection=collection,
        said=said,
        sweep=sweep,
        tracked=tracked_run(folder),
        grids=grids,
        canvases=canvases,
        pictures=pictures,
        data=_data(folder, sections, painting),  # names pictures, some of which are not shown elsewhere
        results=RESULTS,
        scores=[key for key in SCORES if any(key in section.results for section in sections)],
        commands=sorted({run.command for run in served if run and run.command}),
        most_strips=MOST_STRIPS,
        few=FEW,
        made=now(),
    )


def _data(folder: Path, sections: Sequence[Section], painting: bool | None) -> dict[str, Any]:
    """What the script reads: the moments, the videos and the curves of the cells, what to say of them."""
    cells = [(section, cell) for section in sections for cell in section.cells.values()]
    strips = FrameStrips([cell.run for _, cell in cells if cell.canvas and painting is None])
    points = max(20, min(CURVE_POINTS, MOST_POINTS // max(1, len(cells))))
    known: dict[tuple[bytes, ...], int] = {}  # cells that were painted once share one
    found = []
    for section, cell in cells:
        strip = strips.of(cell.run) if cell.canvas and painting is None else None
        record = cell.run.record
        found.append(
            {
                "grid": section.index,
                "at": section.place(cell.run),
                "label": cell.label,
                "folder": quote(PurePath(os.path.relpath(cell.run.folder, folder)).as_posix()),
                "key": record.identity or str(cell.run.folder.resolve()),
                "size": cell.size,
                "strip": known.setdefault(strip.frames, len(known)) if strip and strip.frames else None,
                "frame": strip.size if strip else (0, 0),
                "last": strip.last if strip else 0,
                "shows": strip.shows if strip else [],
                "film": strip.film if strip else [],
                "fps": record.fps or cell.run.value("fps"),
                "curve": cell.curve(points),
                "scales": [[int(size), count] for size, count in record.scales.items()],
                "inputs": section.pairs(cell),
                "results": {key: float(f"{value:.5g}") for key, value in cell.results.items()},
                "differs": {key: cell.parameters.get(key, "") for key in section.varying},
                "about": cell.about(),
                "commands": cell.commands(section.program),
            }
        )
    return {
        "made": now(),
        "unfinished": any(section.unfinished for section in sections) if painting is None else painting,
        "times": strips.times,
        "terms": {term: RESULTS[term][0] for term in TERMS},
        "results": {key: name for key, (name, _) in RESULTS.items()},
        "grids": {section.index: section.data() for section in sections},
        "strips": [[base64.b64encode(frame).decode() for frame in frames] for frames in known],
        "cells": found,
    }


def read_part(name: str) -> str:
    """A script or a style that goes into a page."""
    return (PARTS / name).read_text()


def render(template: str, style: str, script: str, **values: Any) -> str:
    """A page with its style and script in it; `values` are the template's."""
    return (
        _templates()
        .get_template(template)
        .render(policy=_policy(style, script), style=style, script=script, **values)
    )


def _policy(style: str, script: str) -> str:
    """The security policy of a page: this style and script, pictures in it, files beside it, no more."""
    return (
        "default-src 'none'; img-src data: 'self' file:; media-src 'self' file:; "
        "base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
