"""The page of a sweep: one HTML file, read from disk or as an MLflow artifact, that needs nothing else.

Made from run directories alone, so an old sweep, a resumed one or half of one has its page too. What
can be seen without the script (canvases, images, numbers) is HTML; films and curves are data that the
script shows. The security policy admits that script and style by their hashes, and no network at all.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any
from xml.etree.ElementTree import Element

from nst.errors import NstError
from nst.io.files import atomic_write
from nst.report.grid import Grid, grid
from nst.report.page.cell import RESULTS, SCORES, TERMS
from nst.report.page.film import MOST_STRIPS, FrameStrips
from nst.report.page.markup import element, render
from nst.report.page.pictures import Pictures
from nst.report.page.section import Section, code, reproduce, started
from nst.runs.record import SweepRecord
from nst.tracking.tracked import tracked_run

__all__ = ["write_page"]

PARTS = Path(__file__).parent


def write_page(sweep_dir: Path, grids: Mapping[Path, Grid] | None = None) -> Path:
    """Write `index.html` of a sweep, or of a sweep of sweeps with all its grids; return its path.

    A grid that has not begun says so.

    Args:
        sweep_dir: the sweep directory.
        grids: those that have been read before.

    Raises:
        NstError: `sweep_dir` does not exist, or has neither runs nor grids.
    """
    names = SweepRecord.read(sweep_dir, lenient=True).grids
    known = grids or {}
    if names is not None:
        folders = {name: sweep_dir / name for name in names}
        found = {name: known.get(folder) or _begun(folder) for name, folder in folders.items()}
        page = _collection(sweep_dir, found)
    else:
        only = known.get(sweep_dir) or grid(sweep_dir)
        pictures = Pictures(only.count)
        section = Section(sweep_dir, only, 0, 0, pictures)
        page = _page(section.heading[0], [section.html(level=1)], [section], pictures)
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


def _collection(folder: Path, grids: Mapping[str, Grid | None]) -> str:
    sections: list[Section] = []
    pictures = Pictures(sum(found.count for found in grids.values() if found))
    parts: list[Element] = []
    contents: list[Element] = []
    for index, (name, found) in enumerate(grids.items()):
        if found is None:
            parts.append(_nothing_yet(index, name))
            contents.append(_entry(index, name, "nothing yet"))
            continue
        first = sum(len(section.cells) for section in sections)
        section = Section(folder / name, found, index, first, pictures)
        sections.append(section)
        parts.append(section.html(level=2))
        contents.append(_entry(index, section.heading[0], section.count()))
    sweep = SweepRecord.read(folder, lenient=True)
    title = sweep.title or sweep.name or folder.resolve().name
    canvases = sum(len(section.cells) for section in sections)
    head = element(
        "header",
        element(
            "div",
            element("h1", title),
            element(
                "p",
                f"{len(grids)} grids, {canvases} canvases{started(folder)}",
                class_="facts",
            ),
        ),
    )
    toc = element("nav", element("ol", *contents), aria_label="Grids")
    again = reproduce(folder)
    return _page(title, [head, *([again] if again is not None else []), toc, *parts], sections, pictures)


def _entry(index: int, title: str, note: str) -> Element:
    return element("li", element("a", title, href=f"#grid-{index}"), " ", element("small", note))


def _nothing_yet(index: int, name: str) -> Element:
    words = element("div", element("h2", name), element("p", "No runs yet.", class_="facts"))
    return element("section", element("header", words), id=f"grid-{index}", class_="grid")


def _page(title: str, parts: list[Element], sections: list[Section], pictures: Pictures) -> str:
    commands = {
        run.command
        for section in sections
        for folder in (section.folder, *(cell.run.folder for cell in section.cells.values()))
        if (run := tracked_run(folder)) and run.command
    }
    scores = [key for key in SCORES if any(key in section.results for section in sections)]
    notes = [
        element("p", element("strong", RESULTS[key][0]), f": {RESULTS[key][1]}", class_="note")
        for key in scores
    ]
    if sum(len(section.cells) for section in sections) > MOST_STRIPS:
        told = f"The films of more than {MOST_STRIPS} canvases would make this page too large: see sheet.mp4."
        notes.append(element("p", told, class_="note"))
    if commands:
        notes.append(element("p", "The MLflow runs are in a database; this serves it:", class_="note"))
    if notes:
        parts = [*parts, element("footer", *notes, *map(code, sorted(commands)))]
    style = (PARTS / "page.css").read_text()
    script = "".join((PARTS / name).read_text() for name in ("curves.js", "page.js"))
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    data = _json(_data(sections))  # names pictures, some of which are not on the page yet
    return Template((PARTS / "page.html").read_text()).substitute(
        policy=policy,
        title=render(element("title", title)),
        style=style,
        main=render(element("main", *parts)),
        data=data,
        pictures=render(pictures.rest()),
        script=script,
    )


def _data(sections: list[Section]) -> dict[str, Any]:
    """What the script reads: the moments, the films and the curves of the cells, what to say of them."""
    films = FrameStrips([cell.run for section in sections for cell in section.cells.values() if cell.canvas])
    reels: dict[tuple[bytes, ...], int] = {}  # cells that were painted once share one
    cells = []
    for section in sections:
        for (row, column), cell in section.cells.items():
            film = films.of(cell.run) if cell.canvas else None
            cells.append(
                {
                    "grid": section.index,
                    "row": row,
                    "column": column,
                    "label": cell.label,
                    "head": section.grid.column_labels[column].partition("\n")[0],
                    "reel": reels.setdefault(film.frames, len(reels)) if film and film.frames else None,
                    "side": film.side if film else 0,
                    "last": film.last if film else 0,
                    "shows": film.shows if film else [],
                    "curve": cell.curve(),
                    "inputs": section.pairs(cell),
                    "facts": cell.facts(section.varying),
                }
            )
    return {
        "times": films.times,
        "terms": {term: RESULTS[term][0] for term in TERMS},
        "reels": [[base64.b64encode(frame).decode() for frame in frames] for frames in reels],
        "cells": cells,
    }


def _json(data: Any) -> str:
    """JSON that holds no markup, whatever its strings are."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
