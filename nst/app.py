"""The Hydra application: compose a config of `conf/`, and paint it."""

import hydra
from omegaconf import DictConfig, OmegaConf

from nst.cli import bypass_hydra
from nst.config.paths import CONF
from nst.config.schema import register
from nst.config.settings_help import settings_help

register()
OmegaConf.register_new_resolver("settings", settings_help, replace=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def app(composed: DictConfig) -> float:
    """Compose, hand over, return the objective."""
    from nst.execution.runner import paint  # late: it imports torch, and `--help` and `--cfg` do not

    return bypass_hydra(paint)(composed)
