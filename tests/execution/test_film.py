"""Films: frame by frame, resumed where they were, written back with their rate."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.composing import config, refusal

from nst.config.film import all_iterations, film_of
from nst.config.paths import ROOT
from nst.execution.executors.base import paint_what_fits
from nst.execution.output_dir import conflict_in
from nst.execution.plan import plan
from nst.execution.resolve import identity_of
from nst.io.film import film_at
from nst.io.video import Video, count_frames, frame_rate
from nst.report.build import rebuild
from nst.runs.job import Job, Result, group_batches
from nst.runs.record import RunRecord, Status, find_damage
from nst.runs.sweep import open_sweep

SMALL = ("model=vgg16", "model.weights=random", "size=24", "iterations=12", "optimizer=adam", "tracking=none")
LAYERS = ("style_layers=conv1_1", "init_image=content", "hardware.device=cpu")
DURATIONS = [50, 60, 170]


def pictures() -> list[Image.Image]:
    cat = Image.open(ROOT / "data/cat.png").convert("RGB").resize((48, 48))
    return [cat.crop((4 * number, 0, 4 * number + 36, 24)) for number in range(3)]


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    first, *rest = pictures()
    first.save(tmp_path / "film.gif", save_all=True, append_images=rest, duration=DURATIONS, loop=0)
    return tmp_path / "film.gif"


def film_job(path: Path, folder: Path, *overrides: str) -> Job:
    outputs = f"outputs={folder.parent / 'outputs'}"
    return Job(config(*SMALL, *LAYERS, f"images.content={path}", outputs, *overrides), folder, ("a film",))


def paint(job: Job) -> Result:
    [result] = paint_what_fits([job], lambda progress: None)
    return result


def levels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=int)


def canvas(folder: Path) -> np.ndarray:
    return levels(folder / "canvas.png")


def test_a_gif_comes_back_as_one(gif: Path, tmp_path: Path) -> None:
    job = film_job(gif, tmp_path / "run")
    result = paint(job)
    assert result.error is None
    record = RunRecord.read(job.folder)
    assert (record.frames, record.identity) == ([0, 1, 2], identity_of(job.config))
    assert find_damage(job.folder, record) is None
    back = film_at(job.folder / "film.gif")
    assert back is not None
    assert (list(back.durations or []), back.loop) == (DURATIONS, 0)
    rate = frame_rate(job.folder / "film.mp4")
    assert rate == pytest.approx(3000 / sum(DURATIONS), abs=0.01)
    assert frame_rate(job.folder / "canvas.mp4") == 30
    frames = [RunRecord.read(job.folder / "frames" / f"{number:04}") for number in range(3)]
    assert [frame.frames[-1] for frame in frames] == [11, 2, 2]  # a quarter of the iterations
    assert result.loss == frames[-1].total
    assert (canvas(job.folder) == canvas(job.folder / "frames/0002")).all()
    # Each began from the canvas before it, with what the film has changed since.
    now, old = (levels(job.folder / f"frames/000{number}/content.png") for number in (2, 1))
    begun = (levels(job.folder / "frames/0001/canvas.png") + now - old).clip(0, 255)
    assert (levels(job.folder / "frames/0002/init.png") == begun).all()
    assert (now != old).any()
    assert conflict_in(job.folder, {Path(): job}) is None
    assert plan([job]).done == {job.folder: job.folder}


def test_frames_that_do_not_wait_are_a_batch(gif: Path, tmp_path: Path) -> None:
    job = film_job(gif, tmp_path / "run", "frames.warm=false")
    assert paint(job).error is None
    records = [RunRecord.read(job.folder / "frames" / f"{number:04}") for number in range(3)]
    assert [record.batch_cells for record in records] == [3, 3, 3]
    film = film_of(job.config)
    assert film is not None
    list(film.frames())[1].save(tmp_path / "still.png")
    still = film_job(tmp_path / "still.png", tmp_path / "still")
    assert paint(still).error is None
    assert (canvas(still.folder) == canvas(job.folder / "frames/0001")).all()


def test_it_goes_on_where_it_was(gif: Path, tmp_path: Path) -> None:
    whole = film_job(gif, tmp_path / "whole")
    assert paint(whole).error is None
    job = film_job(gif, tmp_path / "run")
    shutil.copytree(whole.folder, job.folder)
    # As a kill -9 in the last frame leaves it.
    shutil.rmtree(job.folder / "frames/0002")
    replace(RunRecord.read(job.folder), status=Status.RUNNING).write(job.folder)
    assert conflict_in(job.folder, {Path(): job}) is None
    painted = []
    kept = (job.folder / "frames/0001/canvas.png").stat().st_mtime_ns
    shutil.rmtree(whole.folder)
    [result] = paint_what_fits([job], painted.append)
    assert result.error is None
    assert (job.folder / "frames/0001/canvas.png").stat().st_mtime_ns == kept
    assert {progress.iterations for progress in painted} == {18}
    assert min(progress.iteration for progress in painted) > 15  # only the last frame was painted


def test_a_video_keeps_its_rate(tmp_path: Path) -> None:
    with Video(tmp_path / "in.mp4", 30000 / 1001, (24, 36)) as video:
        for picture in pictures():
            video.append(np.asarray(picture))
    job = film_job(tmp_path / "in.mp4", tmp_path / "run", "frames.most=2", "frames.iterations=3")
    film = film_of(job.config)
    assert film is not None
    assert (film.count, film.rate) == (3, 30000 / 1001)
    assert all_iterations(job.config) == 15
    assert paint(job).error is None
    assert frame_rate(job.folder / "film.mp4") == 30000 / 1001
    assert count_frames(job.folder / "film.mp4") == 2
    assert not (job.folder / "film.gif").exists()


def test_what_a_film_is(gif: Path, tmp_path: Path) -> None:
    base = identity_of(film_job(gif, tmp_path / "run").config)
    for given, same in (
        ("frames.iterations=3", True),
        ("frames.iterations=2", False),
        ("frames.warm=false", False),
        ("frames.most=2", False),
        ("fps=3", True),
    ):
        assert (identity_of(film_job(gif, tmp_path / "run", given).config) == base) is same
    picture, other = ROOT / "data/cat.png", ("frames.warm=false", "frames.most=2")
    still = identity_of(film_job(picture, tmp_path / "run").config)
    assert still == identity_of(film_job(picture, tmp_path / "run", *other).config)


def test_films_are_batches_of_their_own(gif: Path, tmp_path: Path) -> None:
    jobs = [film_job(gif, tmp_path / "sweep" / str(number), f"weights.style={number}") for number in range(2)]
    stills = [film_job(ROOT / "data/cat.png", tmp_path / "sweep" / str(number)) for number in (2, 3)]
    assert list(map(len, group_batches([*jobs, *stills], lambda some: 9))) == [1, 1, 2]


def test_what_is_no_film_is_one_line(gif: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    result = paint(film_job(tmp_path / "text.mp4", tmp_path / "text"))
    assert (
        result.error
        == f"images.content={tmp_path}/text.mp4: a video without a frame that ffmpeg can decode; give another"
    )
    assert refusal(*SMALL, "frames.iterations=0").startswith("frames.iterations=0: must be at least 1")
    (tmp_path / "run/frames/0001").mkdir(parents=True)
    (tmp_path / "run/frames/0001/mine.txt").write_text("mine")
    result = paint(film_job(gif, tmp_path / "run"))
    assert "0001: holds mine.txt" in str(result.error)


def test_a_sweep_with_a_film_has_its_sheet(gif: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    assert paint(film_job(gif, sweep / "0")).error is None
    open_sweep(sweep, None, None, cells=1)
    rebuild(sweep)
    assert count_frames(sweep / "sheet.mp4") >= 3
