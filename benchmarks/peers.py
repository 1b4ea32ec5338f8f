"""Public programs beside ours: the same images, the same VGG-16, the same processor time.

Each program is run by its own code and in its own defaults, from a folder with its repository, in an
environment that has what it imports (`--python`). Nothing of it is changed there: a network of
torchvision has our weights, its L-BFGS is stopped when the time is up.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.common import Table, arguments, publish

ROOT = Path(__file__).resolve().parent.parent
# Names of VGG-19's layers in torchvision by what VGG-16 calls the layer of the same name.
CROWSONKB_LAYERS = {1: 1, 6: 6, 11: 11, 20: 18, 22: 20, 29: 25}


class OutOfTimeError(Exception):
    """The processor time is used up."""


class Budget:
    """Counts evaluations of L-BFGS, and stops one when so many CPU seconds are over; keeps its canvas."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.evaluations = seconds, 0
        self.canvas: Any = None

    def limit(self) -> None:
        """Let `torch.optim.LBFGS` ask before each evaluation."""
        import torch

        plain: Any = torch.optim.LBFGS.step

        def step(optimizer: Any, closure: Callable[[], Any]) -> Any:
            self.canvas = optimizer._params[0]

            def counted() -> Any:
                if time.process_time() > self.seconds:
                    raise OutOfTimeError
                self.evaluations += 1
                return closure()

            return plain(optimizer, counted)

        torch.optim.LBFGS.step = step  # type: ignore[method-assign]


def use_our_weights() -> Any:
    """Let torchvision's VGG networks be VGG-16 with our weights; returns what makes one."""
    import torch
    import torchvision

    from nst.core.vgg import LAYERS
    from nst.io.weights import load_weights

    tensors, make = load_weights("vgg16", "imagenet").tensors, torchvision.models.vgg16

    def vgg16(*_: object, **__: object) -> Any:
        model = make(weights=None)
        convolutions = [layer for layer in model.features if isinstance(layer, torch.nn.Conv2d)]
        with torch.no_grad():
            for name, layer in zip(LAYERS["vgg16"], convolutions, strict=True):
                layer.weight.copy_(tensors[f"{name}.weight"])
                layer.bias.copy_(tensors[f"{name}.bias"])  # type: ignore[union-attr]
        return model

    torchvision.models.vgg16 = torchvision.models.vgg19 = vgg16
    return vgg16


def crowsonkb(folder: Path, options: Namespace, out: Path, budget: Budget) -> None:
    """crowsonkb/style-transfer-pytorch: Adam, coarse to fine; `iterations` a scale, twice at the first."""
    use_our_weights()
    sys.path.insert(0, str(folder))
    from PIL import Image
    from style_transfer import style_transfer as theirs  # type: ignore[import-not-found]

    made = theirs.VGGFeatures.__init__

    def init(self: Any, layers: list[int], pooling: str = "max") -> None:
        made(self, [CROWSONKB_LAYERS[layer] for layer in layers], pooling)

    theirs.VGGFeatures.__init__ = init
    model = theirs.StyleTransfer()
    model.content_layers = [CROWSONKB_LAYERS[22]]
    model.style_layers = [CROWSONKB_LAYERS[layer] for layer in (1, 6, 11, 20, 29)]
    images = [Image.open(path).convert("RGB") for path in (options.content, options.style)]
    count = options.iterations
    model.stylize(
        images[0], images[1:], end_scale=options.size, iterations=count, initial_iterations=2 * count
    )
    budget.evaluations = count
    model.get_image().save(out)


def neural_style_pt(folder: Path, options: Namespace, out: Path, budget: Budget) -> None:
    """ProGamerGov/neural-style-pt: L-BFGS from noise; it feeds BGR in 0 to 255, as Caffe's weights expect."""
    import torch

    budget.limit()
    model = use_our_weights()()
    with torch.no_grad():
        model.features[0].weight.copy_(model.features[0].weight.flip(1))
    weights = out.with_name("vgg16-00b39a1b.pth")  # by whose name it knows the network
    torch.save({key: value for key, value in model.state_dict().items() if "features" in key}, weights)
    sys.argv = ["neural_style.py", "-content_image", str(options.content), "-style_image", str(options.style)]
    sys.argv += [
        "-image_size",
        str(options.size),
        "-gpu",
        "c",
        "-backend",
        "mkl",
        "-num_iterations",
        "1000000",
    ]
    sys.argv += ["-model_file", str(weights), "-disable_check", "-output_image", str(out), "-save_iter", "0"]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    theirs = import_module("neural_style")
    try:
        theirs.main()
    except OutOfTimeError:
        theirs.deprocess(budget.canvas.detach().clone()).save(out)
    finally:
        weights.unlink()


def gordicaleksa(folder: Path, options: Namespace, out: Path, budget: Budget) -> None:
    """gordicaleksa/pytorch-neural-style-transfer: L-BFGS from the content image."""
    import torch
    from PIL import Image

    budget.limit()
    use_our_weights()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    theirs = import_module("neural_style_transfer")
    with Image.open(options.content) as image:
        height = round(image.height * options.size / max(image.size))
    with tempfile.TemporaryDirectory() as made:
        settings = {
            "content_img_name": options.content.name,
            "style_img_name": options.style.name,
            "content_images_dir": str(options.content.parent),
            "style_images_dir": str(options.style.parent),
            "output_img_dir": made,
            "img_format": (4, ".png"),
            "height": height,
            **{"content_weight": 1e5, "style_weight": 3e4, "tv_weight": 1.0},
            **{"optimizer": "lbfgs", "model": "vgg16", "init_method": "content", "saving_freq": -1},
        }
        try:
            theirs.neural_style_transfer(settings)
            raise SystemExit("gordicaleksa: it was done before the time was up; give a larger --size")
        except OutOfTimeError:
            mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
            pixels = (budget.canvas.detach()[0] + mean).clamp(0, 255).round().byte()
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(out)


PEERS = {"crowsonkb": crowsonkb, "neural-style-pt": neural_style_pt, "gordicaleksa": gordicaleksa}


def main() -> None:
    """Paint with all of them, one after the other, and print the table."""
    parser = arguments(__doc__ or "")
    add_options(parser)
    options = parser.parse_args()
    options.content, options.style = options.content.resolve(), options.style.resolve()
    if options.peer:
        paint_by_peer(options)
        return
    from nst.api import score  # late: in a peer's environment there may be less

    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    table = Table(
        f"{options.content.name} after {options.style.name}, {options.size} px",
        ["program", "CPU s", "evaluations", "LPIPS", "style distance"],
    )
    command = [sys.executable, "run.py", "experiment=paint", "model=vgg16", "tracking=none"]
    command += [f"images.content={options.content}", f"images.style={options.style}", f"size={options.size}"]
    ours = folder / "ours"
    seconds = cpu_seconds([*command, f"hydra.run.dir={ours}", "resume=false", *options.overrides])
    losses = (ours / "losses.csv").read_text().splitlines()
    rows: list[tuple[str, float, int, Path]] = [("ours", seconds, len(losses) - 1, ours / "canvas.png")]
    for name in PEERS:
        if place := getattr(options, name.replace("-", "_")):
            out = folder / f"{name}.png"
            argv = [options.python, "-m", "benchmarks.peers", *sys.argv[1:], "--peer", name]
            argv += ["--seconds", str(seconds), "--out", str(out), "--place", str(place.resolve())]
            taken = cpu_seconds(argv)
            rows.append((name, taken, json.loads(out.with_suffix(".json").read_text()), out))
    for name, taken, evaluations, canvas in rows:
        scores = score(canvas, options.content, options.style, device="cpu")
        table.add(name, taken, evaluations, scores.lpips_content, scores.style_distance)
    import torch

    publish("Beside public programs", [table], torch.device("cpu"), options.out)


def add_options(parser: ArgumentParser) -> None:
    """What to paint, and where the programs are."""
    parser.add_argument("--content", type=Path, default=ROOT / "data/pagoda.jpg")
    parser.add_argument("--style", type=Path, default=ROOT / "data/starry_night.jpg")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs/peers", help="for the canvases")
    parser.add_argument("--python", default=sys.executable, help="of an environment for the programs")
    parser.add_argument("--iterations", type=int, default=11, help="crowsonkb's a scale, for lack of a limit")
    parser.add_argument("--overrides", nargs="*", default=[], help="of ours, as hardware.precision=bf16")
    for name in PEERS:
        parser.add_argument(f"--{name}", type=Path, help="the folder of its repository")
    for hidden in ("--peer", "--place", "--seconds"):
        parser.add_argument(hidden, help="(for the processes that this starts)")


def paint_by_peer(options: Namespace) -> None:
    """Let one program paint, in this process."""
    budget = Budget(float(options.seconds))
    PEERS[options.peer](Path(options.place), options, options.out, budget)
    options.out.with_suffix(".json").write_text(str(budget.evaluations))


def cpu_seconds(argv: list[str]) -> float:
    """Run a command in the repository's root; the processor time that it took, start and end included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
