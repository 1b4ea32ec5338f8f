"""A disk, an encoder or a log that fails or is stuck: its cell ends, and the others do not notice.

The engine is a stream of made up snapshots; what is written from it, and how that fails, is real or raised by
the call that would fail.
"""

import errno
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import BufferedWriter, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import psutil
import pytest
import torch
from support.cells import readme_cell
from support.command import command
from support.composing import config
from support.disk import remount
from support.forked import start
from support.results import record

from nst.config.paths import ROOT
from nst.core.engine import Snapshot
from nst.errors import NstError
from nst.execution.batch import logged_to
from nst.execution.runner import paint_together
from nst.io import files, timeouts
from nst.io.segmented_video import SegmentedVideo
from nst.runs import writer
from nst.runs.job import Job
from nst.runs.record import RunRecord
from nst.runs.writer import RunWriter, SnapshotWriter, Stuck, record_failure

SECONDS = 60  # within which all that is here ends
FRAMES = 120  # more than a pipe holds: 768 bytes each
SIDE = 16
SMALL = ["model=vgg16", "model.weights=random", "size=24", "save_every=2", "hardware.device=cpu"]
SMALL += ["style_layers=conv1_1"]
ERRORS = [errno.ENOSPC, errno.EACCES, errno.EIO]
Act = Callable[[], None]


def within(act: Callable[[], object]) -> None:
    """Do something that could wait for ever; raises what it raises."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "it hangs"
    if raised:
        raise raised[0]


def paint(folder: Path, flushed_at: int = FRAMES // 2) -> list[RunWriter]:
    """Two cells, as `nst.execution.batch` has them written; the fault, if any, is that of the first."""
    cells = [readme_cell(size=SIDE), readme_cell(size=SIDE)]
    columns = cells[0].columns()
    bench = folder / "bench"
    bench.mkdir(exist_ok=True)
    writers = [RunWriter(folder / str(row), RunRecord(name=str(row), lr=0.1)) for row in range(2)]
    with logged_to([one.folder for one in writers if not begins(one)]):
        for row, one in enumerate(writers):
            with record_failure(one):
                one.start(cells[row], columns, SegmentedVideo(bench, str(row), 30, SIDE))
        writer = SnapshotWriter(writers)
        generator = torch.Generator().manual_seed(0)
        with writer.writing():
            for iteration in range(FRAMES):
                canvas = torch.rand(2, 3, SIDE, SIDE, generator=generator)
                losses = torch.full((1, 2, len(columns)), float(iteration))
                if not writer.submit(Snapshot(iteration, canvas, losses)):
                    break
                if iteration == flushed_at:
                    logging.getLogger("nst.test").warning("in the middle")
                    writer.flush()
                    for one in writers:
                        if one.error is None:
                            with record_failure(one):
                                one.end_segment()
        for one in writers:
            if one.error is None:
                with record_failure(one):
                    one.close_files()
                    one.finish()
    return writers


def begins(one: RunWriter) -> str | None:
    with record_failure(one):
        one.begin()
    return one.error


def is_whole(run: Path, as_in: Path) -> bool:
    """Whether a run has all its files, those of the other one."""
    for name in ("canvas.png", "losses.csv", "content.png"):
        assert (run / name).read_bytes() == (as_in / name).read_bytes()
    assert len(imageio.imread(run / "canvas.mp4", plugin="FFMPEG")) == FRAMES
    assert not list(run.glob(".*"))
    return bool(record(run)["status"] == "finished")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert [one.error for one in paint(folder)] == [None, None]
    return folder


class Failing(RawIOBase):
    """A file that takes so many bytes, and then does something else."""

    def __init__(self, takes: int, act: Act) -> None:
        self.takes, self.act = takes, act

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.takes -= len(data)
        if self.takes < 0:
            self.act()
        return len(data)


def at_losses(patch: pytest.MonkeyPatch, folder: Path, act: Act) -> None:
    opened = Path.open

    def opens(path: Path, *mode: Any, **more: Any) -> Any:
        if path.parent == folder and path.name.startswith(".losses") and mode == ("w",):
            return TextIOWrapper(BufferedWriter(Failing(1000, act), 100), write_through=True)
        return opened(path, *mode, **more)

    patch.setattr(Path, "open", opens)


def at_frames(patch: pytest.MonkeyPatch, folder: Path, act: Act) -> None:
    append, count = SegmentedVideo.append, 0

    def appends(video: SegmentedVideo, frame: Any) -> None:
        nonlocal count
        count += video._name == "0"
        if video._name == "0" and count > 5:
            act()
        append(video, frame)

    patch.setattr(SegmentedVideo, "append", appends)


def at_file(name: str) -> Callable[[pytest.MonkeyPatch, Path, Act], None]:
    """Moving a file to its place fails, once something has been painted."""

    def inject(patch: pytest.MonkeyPatch, folder: Path, act: Act) -> None:
        replace = Path.replace

        def replaces(path: Path, target: Path) -> Path:
            if target == folder / name and (name != "run.json" or (folder / "canvas.png").exists()):
                act()
            return replace(path, target)

        patch.setattr(Path, "replace", replaces)

    return inject


WHERE = {
    "losses.csv": at_losses,
    "frames": at_frames,
    **{name: at_file(name) for name in ("content.png", "canvas.png", "canvas.mp4", "run.json")},
}


@pytest.mark.e2e
# At each place the error that leaves most behind, and one of the others.
@pytest.mark.parametrize(
    ("where", "what"),
    [
        (where, what)
        for index, where in enumerate(WHERE)
        for what in (errno.EROFS, ERRORS[index % len(ERRORS)])
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_a_cell_that_cannot_be_written_fails_alone(
    where: str, what: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "0"

    def fails() -> None:
        raise OSError(what, os.strerror(what), str(bad / where))

    unlink = Path.unlink

    def unlinks(path: Path, missing_ok: bool = False) -> None:
        if what in (errno.EROFS, errno.EACCES) and path.parent == bad and path.name.startswith("."):
            fails()  # what cannot be written to cannot be cleared either
        unlink(path, missing_ok)

    found: list[RunWriter] = []
    with monkeypatch.context() as patch:
        WHERE[where](patch, bad, fails)
        patch.setattr(Path, "unlink", unlinks)
        within(lambda: found.extend(paint(tmp_path)))
    assert found[0].error == f"{bad / where}: {os.strerror(what)}"
    assert found[0].status == "failed"
    assert where == "run.json" or record(bad)["error"] == found[0].error
    assert found[1].error is None
    assert is_whole(tmp_path / "1", undisturbed / "1")
    if what == errno.EROFS:
        assert [one.error for one in paint(tmp_path)] == [None, None]  # when it is gone
        assert is_whole(bad, undisturbed / "0")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "SECONDS", 1)


def encoder(of: str, process: int | None = None, seconds: float = SECONDS) -> psutil.Process:
    """Of the processes that one has started, the one that writes a file whose name begins so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and psutil.pid_exists(process or os.getpid()):
        for child in psutil.Process(process).children(recursive=True):
            try:
                if f"/{of}" in child.cmdline()[-1]:
                    return child
            except (psutil.Error, IndexError):
                continue
        time.sleep(0.01)
    raise AssertionError(f"no encoder of {of}")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("number", [1, FRAMES], ids=["while it takes frames", "at the end of a segment"])
def test_a_stuck_encoder_fails_its_cell(
    number: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, count = SegmentedVideo.append, 0

    def appends(video: SegmentedVideo, frame: Any) -> None:
        nonlocal count
        append(video, frame)
        count += video._name == "0"
        if video._name == "0" and count == number:
            encoder(".0-").send_signal(signal.SIGSTOP)

    monkeypatch.setattr(SegmentedVideo, "append", appends)
    found: list[RunWriter] = []
    within(lambda: found.extend(paint(tmp_path, flushed_at=FRAMES)))
    assert str(found[0].error).startswith(f"{tmp_path}/bench/0-0.mp4: ffmpeg has ")
    assert " nothing for 1 s; see that its disk answers" in str(found[0].error)
    assert record(tmp_path / "0")["status"] == "failed"
    assert (tmp_path / "0/canvas.png").is_file()
    assert (tmp_path / "0/losses.csv").is_file()
    assert is_whole(tmp_path / "1", undisturbed / "1")
    # Other tests of this process may have left their forkserver; no ffmpeg may be left.
    assert [child for child in psutil.Process().children() if "ffmpeg" in child.name()] == []


@pytest.mark.usefixtures("impatient")
def test_a_stuck_disk_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 2)
    answers = threading.Event()
    at_losses(monkeypatch, tmp_path / "0", lambda: (answers.wait(SECONDS), None)[1])
    try:
        with pytest.raises(Stuck, match=r"/0: nothing could be written for 2 s; see that its disk answers"):
            within(lambda: paint(tmp_path))
        one = RunWriter(tmp_path / "0", RunRecord(name="0"))
        one.fail(Stuck("it is"))
        assert record(tmp_path / "0")["error"] == "it is"
    finally:
        answers.set()


@pytest.mark.parametrize("kind", [TypeError, MemoryError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["add", "fail"])
def test_the_end_of_the_thread_that_writes_is_raised_where_it_is_painted(
    name: str, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*of: Any) -> None:
        raise kind("not foreseen")

    if name == "fail":
        at_frames(monkeypatch, tmp_path / "0", lambda: (_ for _ in ()).throw(OSError("gone")))
    monkeypatch.setattr(RunWriter, name, broken)
    if name == "add" and issubclass(kind, Exception):
        found: list[RunWriter] = []
        within(lambda: found.extend(paint(tmp_path)))
        assert [one.error for one in found] == ["not foreseen"] * 2
        return
    with pytest.raises(kind, match="not foreseen"):
        within(lambda: paint(tmp_path))


def test_a_log_whose_disk_is_full_is_told_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for cell in ("0", "1"):
        (tmp_path / cell).mkdir()
        (tmp_path / cell / "nst.log").symlink_to("/dev/full")
    (tmp_path / "2").write_text("no folder")
    caplog.clear()
    with logged_to([tmp_path / cell for cell in ("0", "1", "2")]):
        for number in range(3):
            logging.getLogger("nst.test").warning("line %d", number)
    assert "Traceback" not in capsys.readouterr().err
    told = [text for text in caplog.messages if "without a log" in text]
    assert len(told) == len(set(told)) <= 2
    assert [text for text in caplog.messages if text.startswith("line")] == ["line 0", "line 1", "line 2"]


def test_what_went_wrong_first_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "second")

    monkeypatch.setattr(Path, "unlink", refuses)
    with pytest.raises(NstError, match="first"), files.atomic_write(tmp_path / "file"):
        raise NstError("first")


def test_a_cell_that_cannot_even_say_in_its_record_what_happened_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "0"

    def fails() -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(bad))

    small = [*SMALL, "optimizer=adam", "iterations=2", "tracking=none", f"outputs={tmp_path}"]
    jobs = [Job(config(*small, f"seed={cell}"), tmp_path / cell, (f"seed={cell}",)) for cell in ("0", "1")]
    at_file("run.json")(monkeypatch, bad, fails)
    results = paint_together(jobs)
    told = f"{bad}: {os.strerror(errno.EACCES)}"
    assert [result.error for result in results] == [told, None]
    assert caplog.messages.count(told) == 1
    assert record(bad)["status"] == "running"
    assert record(tmp_path / "1")["status"] == "finished"


# For real: tiny disks, signals.


@pytest.fixture
def tiny_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("tiny_disk", "more"),
    [("64k", []), ("64k", ["hydra.launcher.devices=[cpu]"])],
    indirect=["tiny_disk"],
    ids=["here", "in a worker"],
)
def test_a_disk_that_fills_up_with_frames(tiny_disk: Path, more: list[str], tmp_path: Path) -> None:
    grid = ["-m", *SMALL, "optimizer=adam", "seed=0,1", "iterations=12", "save_every=1", "outputs=disk"]
    grid += ["hydra.sweep.dir=disk/sweep", "tracking=none", *more]
    ended = command(tmp_path, *grid)
    assert ended.code in (1, 2), ended.err
    assert "Traceback" not in ended.err
    assert len(ended.errors) == 1
    assert "MiB are free" in ended.errors[0]
    if more:
        return  # it takes long to start workers
    remount(tiny_disk, "size=20m")
    again = command(tmp_path, *grid)
    assert (again.code, again.errors) == (0, []), again.err
    for cell in ("0", "1"):
        assert record(tiny_disk / "sweep" / cell)["status"] == "finished"


def lives(child: psutil.Process) -> bool:
    """Whether it is there, and not only in the list of those whom nobody asked how they ended."""
    try:
        return bool(child.is_running() and child.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.e2e
@pytest.mark.parametrize("more", [[], ["hydra.launcher.devices=[cpu]"]], ids=["here", "in a worker"])
def test_a_second_signal_ends_it_while_an_encoder_is_stuck(more: list[str], tmp_path: Path) -> None:
    grid = ["-m", *SMALL, "optimizer=adam", "iterations=100000", "save_every=1", "seed=0,1", *more]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    said = tmp_path / "err"
    arguments = [str(ROOT / "run.py"), *grid, "tracking=none", "hydra.sweep.dir=sweep"]
    process = start(arguments, tmp_path, known, tmp_path / "out", said)
    assert process.pid is not None
    children: list[psutil.Process] = []
    try:
        stopped = encoder(".0-", process.pid, 2 * SECONDS)  # a worker imports PyTorch as well
        stopped.send_signal(signal.SIGSTOP)
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGINT)
        process.join(3)  # while the batch is kept, which cannot be
        assert process.is_alive()
        os.kill(process.pid, signal.SIGINT)
        process.join(SECONDS)
        assert process.exitcode == 130, said.read_text()
        assert "Traceback" not in said.read_text()
        assert said.read_text().endswith("interrupted\n")
        deadline = time.monotonic() + SECONDS
        while any(map(lives, children)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        for child in filter(lives, children):
            child.kill()
