"""Small, honest run and sweep directories, written as a real sweep would leave them.

The paint is a blend of noise and the two images, and the losses are those of that blend by the
pixel: no network, so a run is written in milliseconds, but every file is what its name says.
"""

import copy
import csv
import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio.v2 as imageio
import numpy as np
from omegaconf import OmegaConf
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
SEED_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

DEFAULTS: dict[str, Any] = {
    "model": {"name": "vgg19", "weights": "imagenet", "fallback": "vgg16", "normalize": False},
    "optimizer": {"name": "adam", "lr": 0.06},
    "init_image": {"name": "noise"},
    "content_layers": {"conv1_1": True},
    "style_layers": dict.fromkeys(SEED_LAYERS, True),
    "weights": {
        "content": 5.0,
        "style": 7000.0,
        "tv": 1.2,
        "by": "position",
        "style_layers": [1e3 / n**2 for n in (16, 32, 128, 256, 512)],
    },
    "images": {"content": "data/pagoda.jpg", "style": "data/starry_night.jpg"},
    "tracking": {
        "name": "mlflow",
        "uri": "sqlite:///mlflow.db",
        "experiment": "nst",
        "canvas_steps": 20,
    },
    "hardware": {"device": "auto", "precision": "fp32"},
    "mode": "reconstruct",
    "activation": "relu",
    "size": 128,
    "iterations": 2500,
    "save_every": 10,
    "fps": 30,
    "seed": 0,
}

SECOND_PAIR = {"content": "data/cat.png", "style": "data/mosaic.png"}
MODEL = {"name": "vgg16", "asked": "vgg19", "weights": hashlib.sha256(b"vgg16").hexdigest()}


# Which of the losses by the pixel stands for each score.
SCORES = {"lpips_content": "content", "style_distance": "style"}


def make_run(
    folder: Path,
    *,
    overrides: list[str],
    config: dict[str, Any] | None = None,
    size: int = 32,
    iterations: int = 20,
    status: str = "finished",
    seed: int = 0,
) -> Path:
    """Write the run directory `folder` and return it.

    `overrides` are Hydra's, as in `.hydra/overrides.yaml`; those of known groups and values also
    take effect on the config (a variant is an optimizer's name; with "_" and anything after it,
    on the second pair of images). `config` is then merged on top of it. A `status` of "failed" or
    "running" leaves what such a run leaves: the config and run.json, no canvas.
    """
    composed = _compose(overrides, config, size=size, iterations=iterations, seed=seed)
    size, iterations = composed["size"], composed["iterations"]
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(composed), folder / ".hydra/config.yaml")
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra/overrides.yaml")
    hydra = {"hydra": {"job": {"name": "run", "num": folder.name}, "run": {"dir": str(folder)}}}
    OmegaConf.save(OmegaConf.create(hydra), folder / ".hydra/hydra.yaml")

    started = datetime(2026, 11, 23, 20, 13, 57, 123456, tzinfo=UTC)
    record: dict[str, Any] = {
        "status": status,
        "error": None,
        "name": " ".join(item for item in overrides if not item.startswith("experiment=")),
        "identity": hashlib.sha256(json.dumps(composed).encode()).hexdigest(),
        "started": started.isoformat(),
        "ended": None,
        "timings": None,
        "frames": None,
        "final": None,
        "scores": None,
        "device": "cpu",
        "precision": composed["hardware"]["precision"],
        "model": MODEL,
        "versions": {"torch": "2.15.0", "python": "3.11"},
        "git": None,
    }
    if status == "failed":
        record["ended"] = (started + timedelta(seconds=1)).isoformat()
        record["error"] = "the total loss is nan at iteration 7; lower optimizer.lr=0.06"
    if status == "finished":
        frames = [*range(0, iterations, composed["save_every"])]
        if frames[-1] != iterations - 1:
            frames.append(iterations - 1)
        record["final"] = _paint(folder, composed, frames)
        record["scores"] = {key: record["final"][loss] ** 0.5 for key, loss in SCORES.items()}
        record["frames"] = frames
        record["ended"] = (started + timedelta(seconds=3)).isoformat()
        record["timings"] = {
            "setup_seconds": 0.5,
            "painting_seconds": 2.0,
            "writing_seconds": 0.5,
            "iterations_per_second": iterations / 2.0,
        }
    (folder / "run.json").write_text(json.dumps(record, indent=2))
    return folder


def make_collection(folder: Path, grids: dict[str, list[list[str]]], **kw: Any) -> Path:
    """Write a sweep of sweeps: `folder`/NAME for each preset, as `make_sweep` does; `folder` itself."""
    for name, jobs in grids.items():
        make_sweep(folder / name, name, jobs, title=f"What {name} asks", **kw)
    sweep = {
        "name": "experiment=glob(readme/*)",
        "title": None,
        "command": "python run.py -m 'experiment=glob(readme/*)'",
        "started": "2026-11-23T20:13:56.123456+00:00",
        "ended": "2026-11-23T20:15:01.123456+00:00",
        "grids": list(grids),
    }
    (folder / "sweep.json").write_text(json.dumps(sweep, indent=2))
    return folder


def make_sweep(
    folder: Path, name: str, jobs: list[list[str]], *, title: str | None = None, **kw: Any
) -> Path:
    """Write the sweep directory `folder`: a run for each job's overrides, as preset `name`.

    `kw` goes to `make_run`. Each job's overrides begin with the preset's, as Hydra's would.
    """
    folder.mkdir(parents=True)
    for number, job in enumerate(jobs):
        make_run(folder / str(number), overrides=[f"experiment={name}", *job], **kw)
    multirun = {"hydra": {"sweep": {"dir": str(folder), "subdir": "${hydra.job.num}"}}}
    OmegaConf.save(OmegaConf.create(multirun), folder / "multirun.yaml")
    sweep = {
        "name": name,
        "title": title,
        "command": f"python run.py -m experiment={name}",
        "started": "2026-11-23T20:13:56.123456+00:00",
        "ended": "2026-11-23T20:14:01.123456+00:00",
    }
    (folder / "sweep.json").write_text(json.dumps(sweep, indent=2))
    return folder


def _compose(
    overrides: list[str], config: dict[str, Any] | None, *, size: int, iterations: int, seed: int
) -> dict[str, Any]:
    composed = copy.deepcopy(DEFAULTS) | {"size": size, "iterations": iterations, "seed": seed}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in ("content_layers", "style_layers"):
            names = [name.strip() for name in value.strip("[]").split(",")]
            composed[key] = {name: True for name in names if name not in ("", "none")}
        elif key in ("optimizer", "variant"):
            name, _, pair = value.partition("_")
            composed["optimizer"] = {"name": name, "lr": 1.0 if name == "lbfgs" else 0.06}
            composed["images"] |= SECOND_PAIR if pair else {}
        elif key in ("init_image", "model"):
            composed[key]["name"] = value
        elif key != "images" and key.partition(".")[0] in DEFAULTS:
            known = OmegaConf.create(composed)
            text = isinstance(OmegaConf.select(known, key), str)
            OmegaConf.update(known, key, value if text else OmegaConf.create(f"v: {value}")["v"])
            composed = OmegaConf.to_container(known)  # type: ignore[assignment]
    merged = OmegaConf.merge(composed, config or {})
    # Layers are a choice, not a sum: a dict given for them replaces the default's.
    for key in ("content_layers", "style_layers"):
        if config and key in config:
            merged[key] = config[key]
    return OmegaConf.to_container(merged)  # type: ignore[return-value]


@cache
def _picture(path: str, size: int) -> np.ndarray:
    """[size, size, 3] in [0, 1]: the file of that path in the repository, else a plaid of it."""
    if (REPOSITORY / path).is_file():
        with Image.open(REPOSITORY / path) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(resized) / 255
    code = hashlib.sha256(path.encode()).digest()
    y, x = np.mgrid[:size, :size] / size
    bands = [np.sin(6.3 * (x * (code[c] % 5) + y * (code[c + 3] % 5 + 1))) for c in range(3)]
    return np.stack(bands, axis=-1) / 2 + 0.5


def _levels(pixels: np.ndarray) -> np.ndarray:
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def _paint(folder: Path, config: dict[str, Any], frames: list[int]) -> dict[str, float]:
    """Write the images, canvas.png, canvas.mp4 and losses.csv; return the final losses."""
    files, final = _painted(json.dumps(config), tuple(frames))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return dict(final)


@cache  # an encoder for each run would be most of what many tests take
def _painted(config: str, frames: tuple[int, ...]) -> tuple[dict[str, bytes], dict[str, float]]:
    with TemporaryDirectory() as folder:
        final = _paint_anew(Path(folder), json.loads(config), frames)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}, final


def _paint_anew(folder: Path, config: dict[str, Any], frames: tuple[int, ...]) -> dict[str, float]:
    size, iterations = config["size"], config["iterations"]
    content = _picture(config["images"]["content"], size)
    style = _picture(config["images"]["style"], size)
    Image.fromarray(_levels(content)).save(folder / "content.png")
    Image.fromarray(_levels(style)).save(folder / "style.png")

    mode = config["mode"]
    layers = {
        "content": [] if mode == "visualize_style" else list(config["content_layers"]),
        "style": [] if mode == "visualize_content" else list(config["style_layers"]),
    }
    # The deeper the content layers, the more style: the drift the seed saw.
    depth = np.mean([int(name[4]) for name in layers["content"]] or [6])
    share = 1 - depth / 6 if layers["style"] else 1
    goal = share * content + (1 - share) * style
    noise = np.random.default_rng(config["seed"]).normal(size=goal.shape)
    start = {"content": content, "style": style}.get(config["init_image"]["name"], noise)
    rate = 5 if config["optimizer"]["name"] == "adam" else 9

    def canvas_at(iteration: int) -> np.ndarray:
        left = np.exp(-rate * iteration / iterations)
        return left * start + (1 - left) * goal

    with (folder / "losses.csv").open("w", newline="") as file:
        table = csv.writer(file)
        names = [f"{kind}/{layer}" for kind, chosen in layers.items() for layer in chosen]
        table.writerow(["iteration", "total", "content", "style", "tv", *names])
        for iteration in range(iterations):
            canvas = canvas_at(iteration)
            distance = {
                "content": float(np.mean((canvas - content) ** 2)),
                "style": float(np.mean((canvas - style) ** 2)),
            }
            terms = {
                f"{kind}/{layer}": distance[kind] / int(layer[4])
                for kind, chosen in layers.items()
                for layer in chosen
            }
            sums = {
                kind: sum(terms[f"{kind}/{layer}"] for layer in chosen) for kind, chosen in layers.items()
            }
            sums["tv"] = float(sum(np.mean(np.abs(np.diff(canvas, axis=axis))) for axis in (0, 1)))
            final = {"total": sum(config["weights"][kind] * sums[kind] for kind in sums), **sums}
            table.writerow([iteration, *final.values(), *terms.values()])

    Image.fromarray(_levels(canvas_at(iterations - 1))).save(folder / "canvas.png")
    with imageio.get_writer(
        folder / "canvas.mp4", fps=config["fps"], codec="libx264", macro_block_size=2
    ) as video:
        for iteration in frames:
            levels = _levels(canvas_at(iteration))
            # H.264's 4:2:0 wants even sides: an odd canvas repeats its last row and column.
            video.append_data(np.pad(levels, ((0, size % 2), (0, size % 2), (0, 0)), "edge"))
    return final
