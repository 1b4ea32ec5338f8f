"""Paint a canvas, or with -m a grid of them: `python run.py --help`."""

import sys

import hydra
from omegaconf import DictConfig

from nst.cli import guarded, past_hydra
from nst.config import register
from nst.job import paint

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Compose, hand over, return the objective."""
    return past_hydra(paint)(composed)


if __name__ == "__main__":
    sys.exit(guarded(main))
