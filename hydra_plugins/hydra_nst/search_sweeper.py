"""`hydra/sweeper=search`: cells that Optuna asks for, some at a time, painted together."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """Sweeps as `nst.execution.search_sweep.SearchSweep` says, which reads the settings in the config."""

    def __init__(self, **settings: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives a sweeper."""
        self.master, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Search until there are as many trials as were asked for, and draw what was found.

        Raises:
            NstError: what is wrong with the search, before anything is painted.
        """
        # Here, because Hydra imports every plugin at every start, and these import torch.
        from hydra_plugins.hydra_nst.extras import require

        require("hydra/sweeper=search", "optuna", "search")
        from nst.execution.composing import Composer
        from nst.execution.search_sweep import SearchSweep
        from nst.execution.sweep_runner import run_sweep

        assert self.launcher is not None
        sweep = SearchSweep(self.loader, self.master, Composer(self.loader, self.master), arguments)
        return run_sweep(sweep, self.master, self.launcher)
