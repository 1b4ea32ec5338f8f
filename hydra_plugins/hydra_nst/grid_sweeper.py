"""`hydra/sweeper=presets`: a grid, a study, or several of them at once, checked before any is painted."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Sweeps as `nst.execution.grid_sweep.GridSweep` says."""

    def __init__(self, max_batch_size: int | None, params: dict[str, Any] | None, study: Any) -> None:
        self.max_batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives a sweeper."""
        self.master, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Compose and check every job, then paint them all; with `plan=true`, only say what would be.

        Raises:
            NstError: what is wrong with any of the configs. No folder was made then.
        """
        # Here, because Hydra imports every plugin at every start, and these import torch.
        from nst.execution.composing import Composer
        from nst.execution.grid_sweep import GridSweep
        from nst.execution.sweep_runner import run_sweep

        assert self.launcher is not None
        composer = Composer(self.loader, self.master)
        sweep = GridSweep(self.loader, self.master, composer, arguments, self.max_batch_size)
        return run_sweep(sweep, self.master, self.launcher)
