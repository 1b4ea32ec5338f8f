"""A real `mlflow server` on loopback, a relay before it that can fail, and a server that only fails."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, ClassVar
from urllib.error import URLError
from urllib.request import urlopen

from .mlflow_tables import copy

START_SECONDS = 120


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """`mlflow server`, its artifacts in a folder; can be killed, stopped, and started again.

    Its database is `backend`, by default an SQLite file in the folder.
    """

    def __init__(self, folder: Path, backend: str | None = None, workers: int = 1) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        if backend is None:
            copy(folder / "mlflow.db")
            backend = f"sqlite:///{folder}/mlflow.db"
        self._backend = backend
        self._workers = workers
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port"]
        command += [str(self.port), "--workers", str(self._workers)]
        command += ["--backend-store-uri", self._backend]
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

    def stop(self) -> None:
        """It still takes connections, or the kernel does, but does not answer."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, also what was asked meanwhile."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@contextmanager
def serving(folder: Path, backend: str | None = None, workers: int = 1) -> Iterator[Server]:
    """A server that runs inside the block, whatever happens in it."""
    server = Server(folder, backend, workers)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Relay(ThreadingHTTPServer):
    """Between a client and a server, request by request: counts, and does what `fault` says.

    `fault` is given each request, as "PUT /api/…", and answers with None, "500", "hang" (no answer until
    the relay is closed) or "cut" (the server gets the request, the client no answer).

    Attributes:
        asked: how often each was asked for, "PUT artifacts" or "POST runs/log-batch".
        sent, received: bytes in requests and in responses, headers included.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relaying)
        self.upstream = port
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.fault: Callable[[str], str | None] = lambda request: None
        self.authorization: str | None = None  # that every request must have, if any
        self.closed, self.lock = Event(), Lock()
        self.asked, self.sent, self.received = Counter[str](), 0, 0
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a server or a client that hangs up is what is tested."""

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self.closed.set()
        self.shutdown()
        self.server_close()


class _Relaying(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstream = HTTPConnection("127.0.0.1", self.server.upstream)

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def relay(self) -> None:
        body = self._body()
        relay = self.server
        with relay.lock:
            relay.asked[self._kind()] += 1
            relay.sent += len(self.raw_requestline) + len(str(self.headers)) + len(body)
        fault = relay.fault(f"{self.command} {self.path}")
        if fault == "hang":
            relay.closed.wait()
            self.close_connection = True
            return
        if relay.authorization not in (None, self.headers.get("Authorization")):
            fault = "401"
        if fault in ("401", "500"):
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = self.upstream.getresponse()
        content = answer.read()
        if fault == "cut":
            self.close_connection = True
            return
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n"
        kept = [(key, value) for key, value in answer.getheaders() if key.lower() != "transfer-encoding"]
        if answer.getheader("Content-Length") is None:
            kept.append(("Content-Length", str(len(content))))
        head += "".join(f"{key}: {value}\r\n" for key, value in kept) + "\r\n"
        with relay.lock:
            relay.received += len(head) + len(content)
        self.wfile.write(head.encode("latin-1") + content)

    def _body(self) -> bytes:
        """What was sent; an empty file comes in chunks, of which there are none."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        del self.headers["Transfer-Encoding"]
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.relay
        raise AttributeError(name)

    def _kind(self) -> str:
        path = self.path.partition("?")[0]
        if "/mlflow-artifacts/" in path:
            return f"{self.command} artifacts"
        return f"{self.command} {path.rpartition('/mlflow/')[2]}"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def dripping() -> Iterator[str]:
    """A server that answers a letter at a time, for ever: no wait for the next one is long."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def drip(connection: socket.socket) -> None:
            with closing(connection):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                connection.settimeout(0.2)
                while True:
                    try:
                        if not connection.recv(65536):
                            return
                    except TimeoutError:
                        pass
                    try:
                        connection.sendall(b"{")
                    except OSError:
                        return

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                Thread(target=drip, args=[connection], daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


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
