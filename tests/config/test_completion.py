"""What the shell completes, from the config as it is, and through bash itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nst.config import completion
from nst.config.completion import Known, completions, shell_of
from nst.config.paths import ROOT


@pytest.fixture(scope="module")
def known() -> Known:
    return completion.gather()


def test_groups_and_keys_up_to_the_next_dot(known: Known) -> None:
    assert completions("nst mo", known) == ["mode=", "model.", "model="]
    assert completions("python run.py -m images.content_", known) == ["images.content_mask="]
    assert {"optimizer=", "optimizer.", "experiment=", "hydra/"} <= set(completions("nst ", known))
    assert completions("nst optimizer.", known) == [
        "optimizer.average=", "optimizer.bounds=", "optimizer.history_size=", "optimizer.lr="
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("mode=vis", ["mode=visualize_both", "mode=visualize_content", "mode=visualize_style"]),
        ("optimizer=", ["optimizer=adam", "optimizer=lbfgs"]),
        ("optimizer=adam,l", ["optimizer=adam,lbfgs"]),
        ("content_layers=[conv1_1,conv5_4", ["content_layers=[conv1_1,conv5_4"]),
        ("experiment=readme/visualize_style_a", ["experiment=readme/visualize_style_all"]),
        ("experiment=quick", ["experiment=quickstart"]),
        ("plan=", ["plan=false", "plan=true"]),
        ("model.normalize=t", ["model.normalize=true"]),
        ("model.fallback=", ["model.fallback=null", "model.fallback=vgg16", "model.fallback=vgg19"]),
        ("hydra/launcher=batched_s", ["hydra/launcher=batched_slurm"]),
        ("+notes=", ["+notes=null"]),
        ("no_such_key=", []),
        ("--mul", ["--multirun"]),
    ],
)
def test_values(known: Known, word: str, wanted: list[str]) -> None:
    assert completions(f"nst -m {word}", known) == wanted


def test_every_value_that_is_completed_is_a_word_of_the_shell(known: Known) -> None:
    assert all(value.split() == [value] for values in known.values() for value in values)


def test_files_and_folders(known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    for name in ("photos/me.jpg", "photos/my cat.jpg", "pier.png", ".hidden.png"):
        (tmp_path / name).touch()
    assert completions("nst images.content=p", known) == ["images.content=photos/", "images.content=pier.png"]
    assert completions("nst images.content=photos/", known) == ["images.content=photos/me.jpg"]
    assert completions("nst images.style=[a.jpg,~/pi", known) == ["images.style=[a.jpg,~/pier.png"]
    assert completions(f"nst init_image.path={tmp_path}/pi", known) == [
        f"init_image.path={tmp_path}/pier.png"
    ]
    assert completions("nst --config-dir pho", known) == ["photos/"]


def test_it_is_kept_until_the_config_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = []
    monkeypatch.setenv("NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(completion, "CONF", tmp_path)
    monkeypatch.setattr(completion, "gather", lambda: gathered.append(1) or {"size": []})
    assert completion.known() == completion.known() == {"size": []}
    assert len(gathered) == 1
    (tmp_path / "new.yaml").touch()
    completion.known()
    assert len(gathered) == 2
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_who_asks() -> None:
    assert shell_of(["-sc", "query=bash"]) == shell_of(["--shell-completion=query=bash"]) == "bash"
    assert shell_of(["-sc", "install=bash"]) is shell_of(["size=64"]) is shell_of([]) is None


@pytest.mark.e2e
def test_bash_completes(tmp_path: Path) -> None:
    """As bash does: the function that is installed, with the line, the words and the place in them."""
    script = """
    eval "$(python run.py -sc install=bash)"
    for line in "python run.py mode=visualize_c" "python run.py -m experiment=readme/noise_" \\
                "nst images.content=data/pag"; do
        COMP_LINE=$line; COMP_POINT=${#line}; words=($line); COMP_CWORD=$((${#words[@]} - 1)); COMPREPLY=()
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
    done
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "NST_CACHE": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "mode=visualize_content",
        "experiment=readme/noise_adam experiment=readme/noise_lbfgs",
        "images.content=data/pagoda.jpg",
    ]
