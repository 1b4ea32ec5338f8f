"""What there is to look at in a sweep's folder: sheets, still and moving, loss curves, the page.

Reads run directories and nothing else, so an old sweep can have them made again:

    python -m nst.gallery FOLDER
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from nst.errors import NstError
from nst.io.arguments import OneLineParser
from nst.io.color import SRGB
from nst.io.files import atomic_write, is_regular
from nst.report.animation import animate
from nst.report.contact_sheet import lay_out
from nst.report.drawing import draw_ahead, draw_each, stop_drawing
from nst.report.grid import Grid, grid
from nst.report.outputs_index import is_above, write_index
from nst.report.page import write_page
from nst.runs.record import RunRecord
from nst.runs.sweep import run_folders, sweeps_in


def contact_sheet(sweep_dir: Path, found: Grid | None = None) -> Path:
    """Write `sheet.png`, the final canvases of a sweep directory as a grid, and return its path.

    Args:
        sweep_dir: the sweep directory.
        found: its grid, where that has been read before.

    Raises:
        NstError: `sweep_dir` does not exist or has no runs.
    """
    path = sweep_dir / "sheet.png"
    page = lay_out(found or grid(sweep_dir)).draw()
    with atomic_write(path) as temporary:
        page.save(temporary, pnginfo=SRGB)
    return path


def animated_sheet(sweep_dir: Path, found: Grid | None = None) -> Path:
    """Write `sheet.mp4`, the same grid with its canvases in step by iteration; return its path.

    Beside it goes `sheet.webp`, the same small enough for a README. As `contact_sheet` else.

    Raises:
        NstError: `sweep_dir` does not exist or has no runs.
    """
    path = sweep_dir / "sheet.mp4"
    sheet = lay_out(found or grid(sweep_dir), footer=True)
    with atomic_write(path) as mp4, atomic_write(path.with_suffix(".webp")) as webp:
        animate(sheet, mp4, webp)
    return path


def begin_sheets(sweep: Path) -> None:
    """Begin to draw the sheets of a sweep whose cells are painted, which `rebuild` takes then."""
    draw_ahead(_sheets, sweep)


def rebuild(folder: Path, before_pages: Callable[[], object] = lambda: None) -> list[Path]:
    """Make all there is to look at of a sweep, a sweep of sweeps, a run or all outputs; return what was made.

    Each sweep gets its sheets and its page, and its finished runs the loss curves that they lack; a
    sweep of sweeps also gets a page of all. One that was not begun yet is passed over. A run gets its page, a
    folder above sweeps and runs the page that lists them.

    Args:
        before_pages: called when the sheets are drawn, before pages are made.

    Raises:
        NstError: `folder` does not exist or has no runs.
    """
    if is_above(folder) and (index := write_index(folder)):
        return [index]
    if (folder / RunRecord.NAME).is_file():
        return [*_draw_curves([folder]), write_page(folder)]
    try:
        return _rebuild(folder, before_pages)
    except BaseException:
        stop_drawing()
        raise


def _rebuild(folder: Path, before_pages: Callable[[], object]) -> list[Path]:
    """The same, of a sweep or several."""
    every = sweeps_in(folder)
    sweeps = [sweep for sweep in every if any(sweep.glob(f"*/{RunRecord.NAME}"))] or [folder]
    made = [path for sweep in sweeps for path in _draw_curves(run_folders(sweep))]
    made += [path for sheets in draw_each(_sheets, sweeps) for path in sheets.result()]
    before_pages()
    pages = draw_each(write_page, sweeps)
    whole = [] if every == [folder] else [write_page(folder)]  # meanwhile
    return [*made, *(page.result() for page in pages), *whole]


def _sheets(sweep: Path) -> list[Path]:
    found = grid(sweep)
    return [contact_sheet(sweep, found), mp4 := animated_sheet(sweep, found), mp4.with_suffix(".webp")]


def _draw_curves(runs: Iterable[Path]) -> list[Path]:
    """Draw the loss curves of the finished runs that lack them."""
    return [drawn.result() for drawn in draw_each(draw_losses, list(filter(_lacks_curves, runs)))]


def draw_losses(run: Path) -> Path:
    """Write the loss curves of a run, `losses.png`; raises as `nst.report.loss_curves` does."""
    from nst.report.loss_curves import losses_png  # it takes a second to import, and is not for every start

    return losses_png(run)


def _lacks_curves(run: Path) -> bool:
    finished = RunRecord.read(run, lenient=True).finished
    return finished and is_regular(run / "losses.csv") and not (run / "losses.png").is_file()


def main(arguments: list[str] | None = None) -> int:
    """Make the sheets and the page of a sweep again; 2 if that cannot be."""
    parser = OneLineParser(prog="python -m nst.gallery", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="of a sweep, of presets, of a run, or outputs")
    try:
        print(*rebuild(parser.parse_args(arguments).folder), sep="\n")
    except (NstError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
