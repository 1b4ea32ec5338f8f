"""Paint a canvas, or with -m a grid of them: `python run.py --help`."""

import sys

from nst.io.signals import install_handlers

install_handlers()  # before what takes seconds to import, so that Ctrl-C is answered then, too

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from nst.cli import bypass_hydra, run_app  # noqa: E402
from nst.config.schema import register  # noqa: E402
from nst.execution.runner import paint  # noqa: E402

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Compose, hand over, return the objective."""
    return bypass_hydra(paint)(composed)


if __name__ == "__main__":
    sys.exit(run_app(main))
