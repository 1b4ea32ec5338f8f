"""What is damaged is not used: each file of a finished tree, damaged in each way, and a sweep after it."""

import json
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.command import SMALL, command
from support.composing import config
from support.results import paint_here, pixels, record

from nst.config.schema import Config
from nst.execution.plan import Plan, plan
from nst.io.files import atomic_copy, atomic_write, read_json, sha256_of, unshare
from nst.runs.index import link_run
from nst.runs.job import Job
from nst.runs.record import OUTPUT_FILES, REQUIRED_FILES, RunRecord, find_damage

PAINTED = (*REQUIRED_FILES, "losses.png")  # by every run that is no film, without options
CELLS = [["size=24", "optimizer=adam", "style_layers=conv1_1", f"seed={seed}"] for seed in (0, 1)]
OTHERS = ("nst.log", ".hydra/config.yaml", ".hydra/overrides.yaml", "mlflow.json", "notes.txt")


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """A test that waits for a FIFO fails, and does not wait for ever."""
    signal.alarm(200)
    yield
    signal.alarm(0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished cells, with what else lies in a run directory."""
    folder = tmp_path_factory.mktemp("tree")
    for result in paint_here(folder, *CELLS):
        assert result.error is None
        for name in OTHERS:
            (result.folder / name).parent.mkdir(exist_ok=True)
            (result.folder / name).write_text("{}\n")
    return folder


@pytest.fixture
def cells(tree: Path, tmp_path: Path) -> list[Path]:
    """A copy of them."""
    return copied(tree, tmp_path / "outputs/a")


def copied(tree: Path, folder: Path) -> list[Path]:
    shutil.copytree(tree, folder)
    return [folder / "0", folder / "1"]


@cache
def configs() -> list[Config]:
    return [config(*SMALL, "tracking=none", *cell) for cell in CELLS]


def planned(outputs: Path, sweep: Path) -> Plan:
    """What a sweep of both cells in a folder would do."""
    cells = [replace(cell, outputs=str(outputs)) for cell in configs()]
    return plan([Job(cell, sweep / str(number), ()) for number, cell in enumerate(cells)])


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def exchange(path: Path, other: Path) -> None:
    path.rename(path.with_name("between"))
    other.rename(path)
    path.with_name("between").rename(other)


def instead(path: Path, put: Callable[[Path, Path], object]) -> None:
    """Move a file away, and put something in its place."""
    moved = path.rename(path.with_name(f"moved-{path.name}"))
    put(path, moved)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut to half": lambda path: cut(path, 0.5),
    "a byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: cut(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "swapped": lambda path: exchange(path, path.with_name(PAINTED[PAINTED.index(path.name) - 1])),
    "removed": Path.unlink,
    "link": lambda path: instead(path, Path.symlink_to),
    "broken link": lambda path: instead(path, lambda path, moved: path.symlink_to("nowhere")),
    "endless": lambda path: instead(path, lambda path, moved: path.symlink_to("/dev/zero")),
    "FIFO": lambda path: instead(path, lambda path, moved: os.mkfifo(path)),
    "folder": lambda path: instead(path, lambda path, moved: path.mkdir()),
}


def taken(before: Plan, sweep: Path) -> list[Path]:
    """The cells of a sweep that are taken, each as it has to be; the others are to be painted."""
    assert {job.folder for batch in before.batches for job in batch} | before.done.keys() == {
        sweep / "0",
        sweep / "1",
    }
    for folder, source in before.done.items():
        link_run(source, folder, "cell", fps=30)
        assert find_damage(folder, RunRecord.read(folder)) is None
    return sorted(before.done)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_with_a_damaged_file_is_not_taken(
    damage: str, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in PAINTED:
        outputs = tmp_path / name
        bad, good = copied(tree, outputs / "a")
        DAMAGES[damage](bad / name)
        for sweep in (outputs / "a", outputs / "b"):
            caplog.clear()
            assert taken(planned(outputs, sweep), sweep) == [sweep / "1"]
            [said] = caplog.messages
            assert said.startswith(f"{bad}/")
            assert damage == "swapped" or said.startswith(f"{bad / name}: ")
            assert said.endswith("; this run is not taken")
        assert sha256_of(good / name) == record(good)["files"][name]["sha256"]


@pytest.mark.parametrize("damage", ["cut to half", "emptied", "removed", "link", "FIFO"])
def test_a_run_of_an_older_version_is_taken_if_its_files_can_be_decoded(
    damage: str, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in REQUIRED_FILES:
        outputs = tmp_path / name
        bad, good = copied(tree, outputs / "a")
        for cell in (bad, good):
            known = record(cell)
            del known["files"]
            (cell / "run.json").write_text(json.dumps(known))
        sweep = outputs / "b"
        assert taken(planned(outputs, sweep), sweep) == [sweep / "0", sweep / "1"]
        shutil.rmtree(sweep)
        DAMAGES[damage](bad / name)
        assert taken(planned(outputs, outputs / "a"), outputs / "a") == [outputs / "a/1"]
        [said] = caplog.messages
        assert said.startswith(f"{bad / name}: ")
        caplog.clear()


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage != "swapped"])
def test_what_lies_beside_a_run_is_neither_followed_nor_needed(
    damage: str, tree: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    cells = copied(tree, outputs / "a")
    before = {path: path.lstat() for cell in cells for path in cell.rglob("*")}
    for name in OTHERS:
        DAMAGES[damage](cells[0] / name)
    sweep = outputs / "b"
    assert taken(planned(outputs, sweep), sweep) == [sweep / "0", sweep / "1"]
    for path in sweep.rglob("*"):
        assert stat.S_ISREG(path.lstat().st_mode) or path.parent == sweep
    assert {path.name for path in (sweep / "0").iterdir()} <= {*OUTPUT_FILES, "run.json", "nst.log"}
    for path, was in before.items():
        if path.exists() and path.parent == cells[1]:
            assert path.lstat().st_mode == was.st_mode
    # What Hydra and the log write in place goes nowhere else, and waits for nobody.
    (tmp_path / "elsewhere").write_text("mine")
    for name in OTHERS[:3]:
        path = cells[0] / name
        unshare(path)
        if not path.is_dir():
            with path.open("a") as file:
                file.write("theirs")
    assert (tmp_path / "elsewhere").read_text() == "mine"


def changed(**keys: Any) -> Callable[[Path], object]:
    """Say something else in a record; a key that is None is left out."""

    def change(path: Path) -> None:
        known = {
            key: value for key, value in ({**json.loads(path.read_text()), **keys}).items() if value != GONE
        }
        path.write_text(json.dumps(known))

    return change


GONE = "gone"
FOREIGN: dict[str, Callable[[Path], object]] = {
    "identity a list": changed(identity=["a"]),
    "no final": changed(final=GONE),
    "final of text": changed(final={"total": "0"}),
    "final without a total": changed(final={}),
    "total not finite": changed(final={"total": float("nan")}),
    "a number for a path": changed(taken_from=3),
    "a name that is none": changed(name={}),
    "another status": changed(status="done"),
    "status a list": changed(status=["finished"]),
    "no start": changed(started=GONE),
    "a start that is no moment": changed(started="yesterday"),
    "no frames": changed(frames=[]),
    "frames of text": changed(frames=["0"]),
    "frames out of order": changed(frames=[3, 0]),
    "timings of text": changed(timings={"gflops": "fast"}),
    "files a list": changed(files=[]),
    "no files in files": changed(files={"canvas.png": {"bytes": 1, "sha256": ""}}),
    "files elsewhere": changed(
        files={name: {"bytes": 1, "sha256": ""} for name in (*OUTPUT_FILES, "../../1/canvas.png")}
    ),
    "sizes of text": changed(files={name: {"bytes": "1", "sha256": ""} for name in OUTPUT_FILES}),
    "deeply nested": lambda path: path.write_text("[" * 100_000),
    "deep inside": lambda path: path.write_text('{"status": ' + '{"a":' * 100_000),
    "not UTF-8": lambda path: path.write_bytes(b'{"name": "\xff"}'),
    "not JSON": lambda path: path.write_text("{"),
    "no object": lambda path: path.write_text("[1]"),
    "a huge number": lambda path: path.write_text('{"lr": ' + "9" * 5000 + "}"),
    "huge": lambda path: path.write_bytes(b" " * (17 << 20)),
    "sparse": lambda path: os.truncate(path, 1 << 40),
    **{
        damage: change
        for damage, change in DAMAGES.items()
        if damage not in ("a byte short", "swapped", "removed", "zeros")
    },
}


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_damaged_record_is_passed_over_with_one_warning(
    damage: str, cells: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    FOREIGN[damage](cells[0] / "run.json")
    for sweep in (tmp_path / "outputs/a", tmp_path / "outputs/b"):
        assert taken(planned(tmp_path / "outputs", sweep), sweep) == [sweep / "1"]
    [said] = caplog.messages  # of two sweeps, each of which reads it more than once
    assert said.startswith(f"{cells[0] / 'run.json'}: ")
    assert said.endswith("; passed over")
    assert said.isprintable()
    assert len(said) < 400


def test_records_that_are_swapped_are_not_taken(cells: list[Path], tmp_path: Path) -> None:
    exchange(cells[0] / "run.json", cells[1] / "run.json")
    assert planned(tmp_path / "outputs", tmp_path / "outputs/b").done == {}


def test_another_whole_run_of_the_same_identity_is_taken(
    tree: Path, cells: list[Path], tmp_path: Path
) -> None:
    other = copied(tree, tmp_path / "outputs/z")
    cut(cells[0] / "canvas.png", 0.5)
    found = planned(tmp_path / "outputs", tmp_path / "outputs/a")
    assert found.done == {cells[0]: other[0], cells[1]: cells[1]}
    assert taken(found, tmp_path / "outputs/a") == cells
    assert pixels(cells[0]).shape == (16, 24, 3)


def test_links_between_folders_are_not_followed(cells: list[Path], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    (outputs / "loop").symlink_to(outputs)
    (outputs / "a/loop").symlink_to(outputs / "a")
    outside = tmp_path / "outside"
    shutil.move(cells[0], outside)
    (outputs / "a/linked").symlink_to(outside)
    found = planned(outputs, outputs / "b")
    assert found.done == {outputs / "b/1": cells[1]}


def test_what_is_taken_again_over_its_own_links_leaves_nothing_behind(
    cells: list[Path], tmp_path: Path
) -> None:
    for _ in range(2):
        link_run(cells[0], tmp_path / "b", "cell", fps=30)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {*PAINTED, "run.json", "nst.log"}
    assert (tmp_path / "b/canvas.png").samefile(cells[0] / "canvas.png")
    assert not (tmp_path / "b/nst.log").samefile(cells[0] / "nst.log")


def test_what_is_written_in_place_is_no_longer_shared(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    other.write_text("other")
    mine.hardlink_to(other)
    unshare(mine)
    assert mine.read_text() == "other"
    mine.write_text("mine")
    assert other.read_text() == "other"
    unshare(tmp_path / "nothing")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["mine", "other"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_modes_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "new") as temporary:
            temporary.write_text("new")
        atomic_copy(tmp_path / "new", tmp_path / "copy")
    finally:
        os.umask(before)
    for name in ("new", "copy"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that two users of one group may write in."""
    if os.geteuid():
        pytest.skip("may not become another user")
    with tempfile.TemporaryDirectory(prefix="nst-shared-") as folder:
        Path(folder).chmod(0o755)
        outputs = Path(folder, "outputs")
        outputs.mkdir()
        os.chown(outputs, 0, GROUP)
        outputs.chmod(0o2775)
        yield outputs


ALICE, BOB, GROUP = 61001, 61002, 61000


def as_user(user: int, umask: int, act: Callable[[], object]) -> None:
    """Do something in a process of another user."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(user)
            os.umask(umask)
            act()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_a_colleagues_runs_are_taken_and_left_as_they_are(umask: int, tree: Path, shared: Path) -> None:
    cells = copied(tree, shared / "alice")
    for path in (shared / "alice", *(shared / "alice").rglob("*")):
        os.chown(path, ALICE, GROUP)
        path.chmod((0o2777 if path.is_dir() else 0o666) & ~umask)
    before = {path: path.stat() for path in (shared / "alice").rglob("*")}
    sweep = shared / "bob"
    jobs = planned(shared, sweep).jobs  # images are read as root, who may look into this checkout
    as_user(BOB, umask, lambda: taken(plan(jobs), sweep))
    for path, was in before.items():
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_ctime_ns) == (was.st_mode, was.st_uid, was.st_ctime_ns)
    for path in sweep.rglob("*"):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (BOB, GROUP)
        assert stat.S_IMODE(found.st_mode) & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask
    # And she takes them from him, in a folder that is hers.
    shutil.rmtree(shared / "alice")
    again = [replace(job, folder=shared / "hers" / job.folder.name) for job in jobs]
    as_user(ALICE, umask, lambda: taken(plan(again), shared / "hers"))
    assert record(shared / "hers/0")["taken_from"] == str(cells[0])


# All at once, through the command: what is asked for is there in the end, whole, whatever lay in its way.
RUNNING: dict[str, Callable[[Path], object]] = {
    "canvas.png": lambda path: cut(path, 0.5),
    "canvas.mp4": DAMAGES["FIFO"],
    "losses.csv": DAMAGES["link"],
    "run.json": DAMAGES["FIFO"],
    ".hydra/config.yaml": DAMAGES["FIFO"],
    "nst.log": lambda path: (DAMAGES["FIFO"](path), cut(path.with_name("losses.png"), 0)),
}


@pytest.mark.e2e
@pytest.mark.parametrize("place", ["same", "other"])
def test_every_sweep_after_it_has_whole_cells(place: str, tmp_path: Path) -> None:
    grid = ["-m", *SMALL, "size=16", "optimizer=adam", f"seed=range(0,{len(RUNNING) + 1})", "tracking=none"]
    grid += ["style_layers=conv1_1"]
    ended = command(tmp_path, *grid, "hydra.sweep.dir=outputs/same")
    assert ended.code == 0, ended.err
    first = tmp_path / "outputs/same"
    shutil.copytree(first, tmp_path / "pure")
    for cell, (name, change) in enumerate(RUNNING.items()):
        change(first / str(cell) / name)
    ended = command(tmp_path, *grid, f"hydra.sweep.dir=outputs/{place}")
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    [sweep] = {Path(line.split()[-1]) for line in ended.err.splitlines() if line.startswith("folder  ")}
    for cell in range(len(RUNNING) + 1):
        folder, pure = sweep / str(cell), tmp_path / "pure" / str(cell)
        assert find_damage(folder, RunRecord.read(folder)) is None
        assert (pixels(folder) == pixels(pure)).all()
        assert len(read_json(folder / "run.json")["frames"]) == len(record(pure)["frames"])
    untouched = sweep / str(len(RUNNING))
    assert record(untouched)["started"] == record(tmp_path / "pure" / untouched.name)["started"]
    for number in (0, 1, 2, 5):
        name = "losses.png" if number == 5 else list(RUNNING)[number]
        assert ended.err.count(f"{first}/{number}/{name}: ") == 1, ended.err
    assert ended.err.count(f"{first}/3/run.json: not a regular file; passed over") == 1
