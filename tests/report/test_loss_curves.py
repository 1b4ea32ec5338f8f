"""The picture of a run's loss curves, read back by the colour of its pixels."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.rundirs import make_run

from nst.errors import NstError
from nst.report.loss_curves import HEIGHT, INKS, WIDTH, losses_png


def drawn(path: Path) -> dict[str, int]:
    """How many pixels have the ink of each curve; those of the total's are also its title's."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    inks = {name: [int(ink[at : at + 2], 16) for at in (1, 3, 5)] for name, ink in INKS.items()}
    return {name: int((pixels == ink).all(axis=-1).sum()) for name, ink in inks.items()}


def rewrite_losses(run: Path, rows: list[list[float]]) -> None:
    head = (run / "losses.csv").read_text().splitlines()[0]
    columns = head.count(",")
    lines = [",".join(map(str, [at, *row, *[1.0] * (columns - len(row))])) for at, row in enumerate(rows)]
    (run / "losses.csv").write_text("\n".join([head, *lines]) + "\n")


def test_total_and_its_terms_are_drawn_and_nothing_is_left_beside(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=["optimizer=adam"], iterations=200)
    path = losses_png(run)
    assert path == run / "losses.png"
    assert all(pixels > 100 for pixels in drawn(path).values())
    assert not [left for left in run.iterdir() if left.name.startswith(".losses")]


@pytest.mark.parametrize(
    ("override", "without"),
    [
        ("mode=visualize_style", "content"),
        ("mode=visualize_content", "style"),
        ("weights.tv=0", "tv"),
        ("weights.content=0.0", "content"),
    ],
)
def test_a_term_that_counts_for_nothing_is_left_out(tmp_path: Path, override: str, without: str) -> None:
    found = drawn(losses_png(make_run(tmp_path / "run", overrides=[override])))
    assert found[without] == 0
    assert all(found[name] > 0 for name in found.keys() - {without})


def test_a_term_is_as_high_as_its_weight_makes_it(tmp_path: Path) -> None:
    """Of two terms that are equal but for their weights, the heavier one ends above the other."""
    heights = {}
    for name, tv in (("light", 0.1), ("heavy", 500.0)):
        run = make_run(tmp_path / name, overrides=["weights.style=0", f"weights.tv={tv}"])
        rewrite_losses(run, [[1000.0, 1.0, 1.0, 1.0]] * 30)
        pixels = np.asarray(Image.open(losses_png(run)).convert("RGB"))
        lines = {}
        for term in ("content", "tv"):
            ink = [int(INKS[term][at : at + 2], 16) for at in (1, 3, 5)]
            rows = (pixels[:, : WIDTH // 2] == ink).all(axis=-1).sum(axis=1)
            lines[term] = int(rows.argmax())  # the row that is a line of it
        heights[name] = lines
    assert heights["light"]["tv"] > heights["light"]["content"]  # rows count downwards
    assert heights["heavy"]["tv"] < heights["heavy"]["content"]


def test_each_scale_is_ruled_off_where_it_begins(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=[], iterations=41)
    pictures = []
    for scales in ({}, {"16": 20, "23": 11, "32": 10}):
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "scales": scales}))
        pictures.append(np.asarray(Image.open(losses_png(run)).convert("RGB"), dtype=int))
    lower = slice(HEIGHT // 2, int(0.85 * HEIGHT))  # below the sizes
    changed = (pictures[0] != pictures[1])[lower].any(axis=(0, 2)).nonzero()[0] / WIDTH
    # The plot, which shows iterations 0 to 40, begins at 0.11 of the width and takes 0.68 of it.
    places = 0.11 + 0.68 * np.array([0, 20, 31]) / 40
    assert all(np.abs(places - at).min() < 0.004 for at in changed)
    assert all(np.abs(changed - place).min() < 0.004 for place in places)


def test_losses_of_zero_are_gaps(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    run = make_run(tmp_path / "run", overrides=["optimizer=adam"])
    rewrite_losses(run, [[9.0, 0.0, 0.001, 1.0], [5.0, 0.0, 0.0, 1.0], [4.0, 0.0, 0.002, 1.0]])
    found = drawn(losses_png(run))
    assert found["content"] == 0
    assert found["style"] > 0
    rewrite_losses(run, [[0.0, 0.0, 0.0, 0.0]] * 3)
    found = drawn(losses_png(run))
    assert not any(found[name] for name in ("content", "style", "tv"))
    assert not recwarn.list


def test_one_iteration_is_a_dot(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=["optimizer=adam"], iterations=1)
    assert drawn(losses_png(run))["style"] > 30


def test_a_run_that_is_not_finished_yet_and_a_name_like_tex(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", overrides=["images.content=a$_{\\frac$.png", "activation=" + "relu" * 200]
    )
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "running", "ended": None}))
    drawn(losses_png(run))
    (run / "run.json").unlink()
    drawn(losses_png(run))


def test_any_thread_draws_the_same(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(n), overrides=["optimizer=adam"]) for n in range(6)]
    with ThreadPoolExecutor(6) as threads:
        paths = list(threads.map(losses_png, runs))
    assert len({path.read_bytes() for path in paths}) == 1


def test_what_is_no_table_of_losses_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", overrides=["optimizer=adam"])
    head = (run / "losses.csv").read_text().splitlines()[0]
    for text in ("", head, "iteration,total\n0,1\n", f"{head}\n0,one\n"):
        (run / "losses.csv").write_text(text)
        with pytest.raises(NstError, match=r"losses.csv: no table of losses \(.*\); paint the run again$"):
            losses_png(run)
    (run / "losses.csv").unlink()
    with pytest.raises(NstError, match="no such file"):
        losses_png(run)
    assert not list(run.glob("*losses*"))
