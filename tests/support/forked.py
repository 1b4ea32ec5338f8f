"""Commands in processes of their own that need not import torch again: forks of one that has."""

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["support.preloaded"]
TESTS = Path(__file__).parents[1]


def python(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], seconds: float = 300
) -> tuple[int, str, str]:
    """What `python ARGUMENTS` in `folder` ends with, says and complains of; a script or `-m` comes first."""
    with tempfile.TemporaryDirectory() as temporary:
        out, err = Path(temporary, "out"), Path(temporary, "err")
        process = start(arguments, folder, environment, out, err)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{arguments} in {folder}, after {seconds:g} s: {err.read_text()}")
        return process.exitcode, out.read_text(), err.read_text()


def preload(environment: dict[str, str]) -> None:
    """Start the process that is forked, if there is none yet."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    mine = dict(os.environ)
    os.environ |= environment  # how many threads is decided by the imports
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), *sys.path])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(mine)


def start(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], out: Path, err: Path
) -> ForkServerProcess:
    """Start `python ARGUMENTS` in `folder`, the first of a process group, and go on."""
    preload(environment)
    process = CONTEXT.Process(target=_python, args=(list(arguments), folder, environment, out, err))
    process.start()
    return process


def _python(arguments: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """Become that command, as far as it can tell."""
    os.setsid()
    for path, number in ((out, 1), (err, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[1:1] = environment["PYTHONPATH"].split(os.pathsep) if "PYTHONPATH" in environment else []
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    try:
        if arguments[0] == "-m":
            sys.argv = ["-m", *arguments[2:]]
            sys.path[0] = str(folder)
            sys.modules.pop(arguments[1], None)  # it is run, not imported
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(arguments)
            sys.path[0] = str(Path(arguments[0]).parent)
            runpy.run_path(arguments[0], run_name="__main__")
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # it ends pools of processes
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))  # type: ignore[call-overload]
