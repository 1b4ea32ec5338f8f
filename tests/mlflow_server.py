"""A real `mlflow server` on loopback, and a server that only fails, for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError
from urllib.request import urlopen

START_SECONDS = 120


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """`mlflow server` with its database and artifacts in a folder; can be killed and started."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port"]
        command += [str(self._port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, **quiet},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_text = (self._folder / "server.log").read_text()
                raise RuntimeError(f"mlflow server did not start:\n{log_text[-3000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9, with its workers."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that runs inside the block, whatever happens in it."""
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Broken(BaseHTTPRequestHandler):
    """Answers every GET with an error, and asks to be left alone for an hour."""

    asked: ClassVar[int] = 0

    def do_GET(self) -> None:
        Broken.asked += 1
        self.send_response(503 if Broken.asked % 2 else 500)
        self.send_header("Retry-After", "3600")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
