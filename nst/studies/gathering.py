"""All verdicts of a folder of outputs on one page, and as a page of the documentation.

    python -m nst.verdicts [OUTPUTS]
    python -m nst.verdicts OUTPUTS --docs docs/verdicts.md

The studies are judged together: their p-values are corrected for their number (Holm).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nst.errors import NstError
from nst.io.arguments import OneLineParser
from nst.io.files import atomic_write, folders_with
from nst.report.page import read_part, render
from nst.runs.record import RunRecord, SweepRecord
from nst.runs.study_record import StudyRecord
from nst.runs.verdict_record import VERDICTS, VerdictRecord
from nst.studies.figure import NAME, draw
from nst.studies.judging import publish, verdict_of

PAGE = "verdicts.html"


@dataclass(frozen=True)
class Entry:
    """A study on the page."""

    verdict: VerdictRecord
    folder: Path
    command: str


def studies_in(outputs: Path) -> list[Path]:
    """The folder of each study below some outputs: of several that of the most cells, else the newest."""
    found: dict[str, tuple[tuple[int, str], Path]] = {}
    for folder in folders_with(StudyRecord.NAME, outputs):
        study = StudyRecord.read(folder)
        if not study.name:
            continue
        finished = sum(RunRecord.read(run, lenient=True).finished for run in _runs(folder))
        rank = finished, SweepRecord.read(folder, lenient=True).started
        if study.name not in found or rank > found[study.name][0]:
            found[study.name] = rank, folder
    return [found[name][1] for name in sorted(found)]


def _runs(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"*/{RunRecord.NAME}")]


def gather(outputs: Path) -> list[Entry]:
    """Judge all studies below some outputs together, those again that are not judged or were partial.

    Raises:
        NstError: there are none.
    """
    if not outputs.is_dir():
        raise NstError(f"{outputs}: no such folder; give one of outputs")
    folders = studies_in(outputs)
    if not folders:
        raise NstError(f"{outputs}: no study in it; `python run.py -m study=NAME` paints one")
    verdicts: Mapping[Path, VerdictRecord] = {folder: _verdict(folder) for folder in folders}
    together = publish(verdicts)
    return [
        Entry(verdict, folder, SweepRecord.read(folder, lenient=True).command)
        for folder, verdict in zip(folders, together, strict=True)
    ]


def _verdict(folder: Path) -> VerdictRecord:
    known = VerdictRecord.read(folder, lenient=True)
    return known if known.verdict and not known.partial else verdict_of(folder)


def write_page(outputs: Path, entries: Sequence[Entry]) -> Path:
    """Write `verdicts.html` into a folder of outputs; return its path."""
    path = outputs / PAGE
    style = read_part("page.css") + read_part("outputs.css")
    listed = [
        {
            "verdict": entry.verdict,
            "command": entry.command,
            "address": quote(Path(os.path.relpath(entry.folder, outputs), "index.html").as_posix()),
            "picture": quote(Path(os.path.relpath(entry.folder, outputs), NAME).as_posix()),
        }
        for entry in entries
    ]
    page = render("verdicts.html", style, "", title="Verdicts", entries=listed, counts=counts(entries))
    with atomic_write(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return path


def counts(entries: Sequence[Entry]) -> str:
    """How many claims have which verdict."""
    words = [entry.verdict.verdict for entry in entries]
    each = ", ".join(f"{words.count(word)} {word}" for word in VERDICTS if word in words)
    return f"{len(words)} claim{'' if len(words) == 1 else 's'}: {each}"


def write_markdown(path: Path, entries: Sequence[Entry]) -> Path:
    """Write the same as Markdown, its pictures into a folder of that name beside it; return its path."""
    pictures = path.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Verdicts",
        "",
        f"{counts(entries)}. `python -m nst.verdicts OUTPUTS --docs {path.name}` writes this page; "
        "[studies.md](studies.md) says what a verdict is, and how to have one on a claim of your own.",
        "",
        "| claim | verdict | effect |",
        "| --- | --- | --- |",
    ]
    for entry in entries:
        verdict = entry.verdict
        effects = "; ".join(effect.text(verdict.by) for effect in verdict.effects)
        link = f"[{_cell(verdict.claim)}](#{verdict.study.replace('/', '')})"
        lines.append(f"| {link} | **{verdict.verdict}** | {_cell(effects)} |")
    for entry in entries:
        verdict = entry.verdict
        picture = draw(entry.folder, verdict, pictures / f"{verdict.study.replace('/', '_')}.jpg")
        lines += ["", f"## {verdict.study}", "", f"**{verdict.claim}.** {verdict.source}", ""]
        lines += [f"{verdict.text}", "", f"![{verdict.claim}]({pictures.name}/{picture.name})", ""]
        lines += [f"Left out: {'; '.join(verdict.left_out)}.", ""] if verdict.left_out else []
        lines += ["```sh", entry.command, "```"]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    return path


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str] | None = None) -> int:
    """Judge the studies below a folder together, and write the page of their verdicts."""
    parser = OneLineParser(prog="python -m nst.verdicts", description=main.__doc__)
    parser.add_argument("outputs", nargs="?", default=Path("outputs"), type=Path, help="of the studies")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE.md", help="also write them as Markdown, with pictures"
    )
    try:
        given = parser.parse_args(arguments)
        entries = gather(given.outputs)
        for entry in entries:
            print(f"{entry.verdict.study}: {entry.verdict.text}")
        print(write_page(given.outputs, entries))
        if given.docs:
            print(write_markdown(given.docs, entries))
    except (NstError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
