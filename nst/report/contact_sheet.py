"""A contact sheet: a grid of canvases as a page, with its labels and the images it is about."""

from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path

from PIL import Image, ImageDraw

from nst.io.color import laid_on_white
from nst.io.files import open_regular
from nst.report.grid import Grid, Inputs
from nst.report.text_layout import HEAD, INK, NO_BREAK_SPACE, NOTE, SMALL, TITLE, Block, Text, line_height
from nst.runs.reader import Run, canvas_size
from nst.runs.record import Status

SMALLEST, LARGEST = 192, 320  # pixels a side at which a canvas is shown
# So many canvases that they would be wider or higher than a video may be are shown smaller, and no more of
# them than then fit.
WIDEST, TINIEST = 4096, 36
MARGIN, GAP, AIR = 40, 12, 8
ROW_LABEL_WIDTH = 190
NARROWEST = 620  # a sheet of one cell still has room for its title

APART = 2 * GAP  # more between columns, or rows, that differ by more than their last axis
PAPER, PLACEHOLDER, RULE = "white", "#ececec", "#c8c8c8"


@dataclass
class Sheet:
    """Where everything goes: the size of the page, and what lies at which (x, y) of it.

    Each cell and image has a place of (width, height) = `box`, in whose middle it lies. A cell is a run or
    None; an image is the file of a content or style image.
    """

    box: tuple[int, int]
    size: tuple[int, int] = (0, 0)
    texts: list[Text] = field(default_factory=list)
    images: list[tuple[int, int, Path]] = field(default_factory=list)
    cells: list[tuple[int, int, Run | None]] = field(default_factory=list)
    rules: list[tuple[int, int, int, int]] = field(default_factory=list)

    def draw(self) -> Image.Image:
        """The page with the final canvases."""
        page = Image.new("RGB", self.size, PAPER)
        pen = ImageDraw.Draw(page)
        for text in self.texts:
            text.draw(pen)
        for rule in self.rules:
            pen.line(rule, RULE)
        for x, y, path in self.images:
            page.paste(_picture(path, self.box) or placeholder(Status.MISSING, "", self.box), (x, y))
        for x, y, run in self.cells:
            page.paste(canvas_tile(run, self.box), (x, y))
        return page


def lay_out(grid: Grid, *, footer: bool = False) -> Sheet:
    """Decide where everything on the sheet of a grid goes; `footer` leaves a line free below."""
    grid = _cut(grid)
    runs = grid.runs
    inputs = Inputs.of(runs)
    sheet = Sheet(_box(grid))
    side, high = sheet.box

    # Across: the images that go beside the canvases, the row labels, the canvases.
    row_axis = Block.fit(grid.row_axis, ROW_LABEL_WIDTH, 2)
    names = [_label(label, ROW_LABEL_WIDTH, 3) for label in grid.row_labels]
    above = inputs.kinds if inputs.vary == "columns" else []
    image_names = [Block.fit(kind, side, 1) for kind in above]
    labels = max(block.width for block in [row_axis, *names, *image_names])
    beside = _columns_beside(inputs, len(runs))
    labels_end = MARGIN + beside * (side + GAP) + (2 * GAP if beside else 0) + labels
    left = labels_end + (GAP + 4 if labels else 0)
    across, down = _steps(grid.columns, side + GAP), _steps(grid.rows, high + GAP)
    right = left + across[-1] + side
    width = max(right + MARGIN, NARROWEST)

    # Down: the title, what all cells share, the column labels, the canvases.
    y = _write_title(sheet, grid, width - 2 * MARGIN)
    column_axis = Block.fit(grid.column_axis, right - left, 1)
    sheet.texts += column_axis.place((left + right) // 2, y, "ma")
    y += column_axis.height + 6
    for level in range(len(grid.columns[0]) - 1):
        y = _write_over(
            sheet, [column[: level + 1] for column in grid.columns], [left + x for x in across], y
        )
    heads = [_label(column[-1], side, 2) for column in grid.columns]
    top = y + max(block.height for block in [row_axis, *heads]) + AIR
    for x, head in zip(across, heads, strict=True):
        _write_above(sheet, head, left + x + side // 2, top, "ma")
    _write_above(sheet, row_axis, labels_end, top, "ra")

    y = top
    for kind, name in zip(above, image_names, strict=True):
        _write_beside(sheet, name, labels_end, y)
        for column, x in enumerate(across):
            path = inputs.file(kind, [row[column] for row in runs])
            sheet.images.append((left + x, y, path))
        y += high + GAP
    y += GAP if above else 0
    bottom = _place_beside(sheet, inputs, runs, top, down) if beside else 0
    for name, row, offset in zip(names, runs, down, strict=True):
        _write_beside(sheet, name, labels_end, y + offset)
        sheet.cells += [(left + x, y + offset, run) for x, run in zip(across, row, strict=True)]

    height = max(y + down[-1] + high, bottom) + MARGIN + (line_height(NOTE) + GAP if footer else 0)
    sheet.size = (width + width % 2, height + height % 2)  # H.264's 4:2:0 wants even sides
    return sheet


def canvas_tile(run: Run | None, box: tuple[int, int]) -> Image.Image:
    """The final canvas of a cell in a box of (width, height), or a placeholder that says why not."""
    if run is None:
        return placeholder(Status.MISSING, "", box)
    record = run.record
    picture = _picture(run.folder / "canvas.png", box) if record.has_canvas else None
    if picture is None:
        return placeholder(*record.why_no_canvas(run.folder.name), box)
    return picture if record.finished else _struck(picture, f"diverged at {record.diverged_at}")


def placeholder(word: str, reason: str, box: tuple[int, int]) -> Image.Image:
    """A grey box that says in a word, and a few more, why there is no canvas."""
    width, height = box
    tile = Image.new("RGB", box, PLACEHOLDER)
    block = Block.fit(word, width - 2 * GAP, 1, HEAD) + Block.fit(reason, width - 2 * GAP, 4, SMALL)
    for text in block.place(width // 2, (height - block.height) // 2, "ma"):
        text.draw(ImageDraw.Draw(tile))
    return tile


def _struck(picture: Image.Image, words: str) -> Image.Image:
    """A canvas that is not what was to be painted: faded, with a line at the foot that says so."""
    tile = Image.blend(picture, Image.new("RGB", picture.size, PLACEHOLDER), 0.5)
    block = Block.fit(words, picture.width - 2 * GAP, 1, HEAD)
    pen = ImageDraw.Draw(tile)
    pen.rectangle((0, picture.height - block.height - GAP, *picture.size), PLACEHOLDER)
    for text in block.place(picture.width // 2, picture.height - block.height - GAP // 2, "ma"):
        text.draw(pen)
    return tile


def resize(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    """An image as it is shown: RGB, as large as the box of (width, height) lets it be, in its middle."""
    return in_middle(laid_on_white(image).resize(fitting(image.size, box), Image.Resampling.LANCZOS), box)


def fitting(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """As large as a box of (width, height) lets a picture of this (width, height) be."""
    # Sides are rounded: what fits but for a pixel fills the box.
    scale = min(box[0] / size[0], box[1] / size[1])
    width, height = (
        side if abs(side - scale * own) < 1 else max(1, round(scale * own))
        for side, own in zip(box, size, strict=True)
    )
    return width, height


def in_middle(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """A picture in the middle of a box that it fits into."""
    if picture.size == box:
        return picture
    tile = Image.new("RGB", box, PAPER)
    tile.paste(picture, ((box[0] - picture.width) // 2, (box[1] - picture.height) // 2))
    return tile


def _columns_beside(inputs: Inputs, rows: int) -> int:
    """How many columns of images stand beside `rows` rows of canvases."""
    if inputs.vary == "rows" or (inputs.vary == "shared" and rows == 1):
        return len(inputs.kinds)
    return 1 if inputs.vary == "shared" and inputs.kinds else 0


def _box(grid: Grid) -> tuple[int, int]:
    """(width, height) that every canvas has room in, the longer side as `SMALLEST` and the others say."""
    sizes = [size for row in grid.runs for run in row if run and (size := canvas_size(run.folder))]
    fits = min((WIDEST - _steps(labels, 0)[-1]) // len(labels) for labels in (grid.rows, grid.columns)) - GAP
    side = min(max([SMALLEST, *map(max, sizes)]), LARGEST, fits)
    if not sizes:
        return side, side
    width, height = (max(size[axis] / max(size) for size in sizes) for axis in (0, 1))
    return max(1, round(width * side)), max(1, round(height * side))


def _cut(grid: Grid) -> Grid:
    """As much of a grid as a sheet has room for, and how much that is."""
    most, rows, columns = WIDEST // (TINIEST + GAP), len(grid.row_labels), len(grid.column_labels)
    if max(rows, columns) <= most:
        return grid
    note = f"rows 1 to {min(rows, most)} of {rows}, columns 1 to {min(columns, most)} of {columns}"
    return replace(
        grid,
        subtitle=f"{note}, all are in index.html · {grid.subtitle}",
        rows=grid.rows[:most],
        columns=grid.columns[:most],
        runs=[row[:most] for row in grid.runs[:most]],
    )


def _label(label: str, width: int, most: int) -> Block:
    head, _, small_print = label.partition("\n")
    return Block.fit(head, width, most, HEAD, INK) + Block.fit(small_print, width, 3, SMALL)


def _write_title(sheet: Sheet, grid: Grid, width: int) -> int:
    """Put title and subtitle at the head of the sheet; return where what follows begins."""
    said, known = grid.said, grid.subtitle.split(" · ")
    known = [grid.title, *known] if said.name else known
    known += [f"tags {', '.join(said.tags)}"] if said.tags else []
    facts = [fact.replace(" ", NO_BREAK_SPACE) for fact in known]
    title = Block.fit(said.name or grid.title, width, 2, TITLE, INK)
    title += Block.fit(said.notes, width, 4, NOTE, INK)
    subtitle = Block.fit(f"{NO_BREAK_SPACE}· ".join(facts), width, 6)
    y = MARGIN - AIR
    sheet.texts += title.place(MARGIN, y)
    y += title.height + 4
    sheet.texts += subtitle.place(MARGIN, y)
    return y + subtitle.height + 2 * GAP


def _write_above(sheet: Sheet, block: Block, x: int, y: int, anchor: str) -> None:
    """Label what begins at `y`."""
    sheet.texts += block.place(x, y - AIR - block.height, anchor)


def _write_beside(sheet: Sheet, block: Block, x: int, y: int) -> None:
    """Label the row of pictures that begins at `y`, to the left of `x`."""
    sheet.texts += block.place(x, y + (sheet.box[1] - block.height) // 2, "ra")


def _steps(labels: list[tuple[str, ...]], step: int) -> list[int]:
    """Where each row or column begins; those that differ by more than their last axis are apart."""
    starts = [0]
    for one, other in pairwise(labels):
        starts.append(starts[-1] + step + (APART if one[:-1] != other[:-1] else 0))
    return starts


def _write_over(sheet: Sheet, labels: list[tuple[str, ...]], starts: list[int], y: int) -> int:
    """Label columns that have their first axes in common, over a rule; return where what follows begins."""
    spans = []
    for _, group in groupby(zip(labels, starts, strict=True), key=lambda column: column[0]):
        same = list(group)
        left, right = same[0][1], same[-1][1] + sheet.box[0]
        spans.append((left, right, _label(same[0][0][-1], right - left, 1)))
    height = max(block.height for _, _, block in spans)
    for left, right, block in spans:
        _write_above(sheet, block, (left + right) // 2, y + height + AIR, "ma")
        sheet.rules.append((left, y + height + 2, right - 1, y + height + 2))
    return y + height + AIR


def _place_beside(
    sheet: Sheet, inputs: Inputs, runs: list[list[Run | None]], top: int, down: list[int]
) -> int:
    """Put the images left of the canvases, named; return where they end. Rows begin at `down` from `top`.

    A pair that differs by row stands in each row, a pair for all beside the only row, or, where
    there is more than one row to stand beside, one above the other.
    """
    width, height = sheet.box
    if _columns_beside(inputs, len(runs)) == len(inputs.kinds):
        for index, kind in enumerate(inputs.kinds):
            x = MARGIN + index * (width + GAP)
            _write_above(sheet, Block.fit(kind, width, 1), x + width // 2, top, "ma")
            for row in range(len(runs) if inputs.vary == "rows" else 1):
                path = inputs.file(kind, runs[row])
                sheet.images.append((x, top + down[row], path))
        return top + height
    for kind in inputs.kinds:
        name = Block.fit(kind, width, 1)
        _write_above(sheet, name, MARGIN + width // 2, top, "ma")
        path = inputs.file(kind, [run for row in runs for run in row])
        sheet.images.append((MARGIN, top, path))
        top += height + GAP + name.height + AIR
    return sheet.images[-1][1] + height


def _picture(path: Path, box: tuple[int, int]) -> Image.Image | None:
    """The picture in a file as `resize` shows it; None if there is none that can be read."""
    try:
        with open_regular(path) as file, Image.open(file) as image:
            return resize(image, box)
    except (OSError, SyntaxError):  # Pillow raises the latter for a broken PNG
        return None
