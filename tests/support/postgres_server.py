"""A real PostgreSQL on loopback, for tests and benchmarks."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

START_SECONDS = 60


def missing() -> str | None:
    """Why there can be no PostgreSQL here; None if there can."""
    if _binaries() is None:
        return "PostgreSQL's initdb is not installed"
    if find_spec("psycopg2") is None:
        return "psycopg2 is not installed: pip install .[server]"
    if os.getuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


@contextmanager
def postgres(port: int) -> Iterator[str]:
    """One that listens there: its address for SQLAlchemy. Gone at the end, with all that is in it."""
    binaries = _binaries()
    assert binaries is not None
    # A folder of its own: those of tests are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="nst-postgres-"))
    password = secrets.token_hex(16)
    who: dict[str, Any] = {}
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)  # which nobody else can look into
    (folder / "password").write_text(password)
    data = folder / "data"
    init: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "mlflow",
        "--auth=scram-sha-256",
        "--no-sync",
    ]
    serve: list[str | Path] = [binaries / "postgres", "-D", data, "-p", str(port), "-k", ""]
    serve += ["-c", "listen_addresses=127.0.0.1"]
    process: subprocess.Popen[bytes] | None = None
    try:
        quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, **who}
        subprocess.run([*init, f"--pwfile={folder}/password"], check=True, **quiet)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(serve, **quiet, stderr=log)
        _wait(binaries, port, process, folder / "log")
        yield f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/postgres"
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once, without writing anything more
            process.wait()
        shutil.rmtree(folder)


def _wait(binaries: Path, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    ask: list[str | Path] = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ask).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"postgres did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def _binaries() -> Path | None:
    """Where PostgreSQL's programs are; Debian does not have them on the path."""
    found = [Path(path).resolve().parent for path in filter(None, [shutil.which("initdb")])]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "postgres").is_file()), None)
