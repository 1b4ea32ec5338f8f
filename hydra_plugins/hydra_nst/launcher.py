"""`hydra/launcher=batched`: the jobs of a sweep painted together, as rows of batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.hydra_nst.composing import Composer

if TYPE_CHECKING:
    from nst.execution.executors.base import Executor


@dataclass
class BatchedLauncherConf:
    """Its settings."""

    _target_: str = "hydra_plugins.hydra_nst.launcher.BatchedLauncher"
    devices: Any = None  # all, or a list such as [cuda:0,cuda:1]: a worker process each


ConfigStore.instance().store(group="hydra/launcher", name="batched", node=BatchedLauncherConf, provider="nst")


class BatchedLauncher(Launcher):
    """Paints the jobs in batches, where Hydra's own launcher runs one after the other."""

    def __init__(self, devices: Any = None) -> None:
        self.devices = devices

    @cached_property
    def batch_executor(self) -> "Executor":
        """Who paints; raises NstError where there is nobody."""
        from nst.execution.executors.base import InProcessExecutor
        from nst.execution.executors.processes import ProcessExecutor, devices_of

        return InProcessExecutor() if self.devices is None else ProcessExecutor(devices_of(self.devices))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives a launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.compose = Composer(hydra_context.config_loader, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Paint all jobs; each gets its directory, `.hydra`, log, MLflow run and return value."""
        # Here, because Hydra imports every plugin at every start, and these import torch.
        from nst.cli import bypass_hydra
        from nst.execution.runner import job_here, paint_together

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        returns = [
            self._set_up(bypass_hydra(job_here), list(overrides), number)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        jobs = [returned.return_value for returned in returns]
        results = paint_together(jobs, self.batch_executor)
        for returned, result in zip(returns, results, strict=True):
            returned.return_value = result.loss
        return returns

    def _set_up(self, task: TaskFunction, overrides: list[str], number: int) -> JobReturn:
        """Let Hydra make one job's directory and config, and `task` a result of them."""
        from nst.callback import leave_config_alone

        config = self.compose(overrides, number)
        leave_config_alone(Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir)))
        return run_job(
            hydra_context=self.hydra_context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
