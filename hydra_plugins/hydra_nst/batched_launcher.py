"""`hydra/launcher=batched`: the jobs of a sweep painted together, as rows of batches."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, configure_log, env_override, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

# What imports torch is imported where it is used: Hydra imports every plugin at every start.
if TYPE_CHECKING:
    from nst.execution.executors.base import Executor
    from nst.execution.sweep_runner import SweepCell


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

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and check the jobs that another sweeper asks for, and paint them."""
        from nst.errors import NstError
        from nst.execution.composing import Composer
        from nst.execution.output_dir import cells_in
        from nst.execution.sweep_runner import SweepCell

        if not job_overrides:
            raise NstError("hydra/sweeper: asks for no cells; give values to sweep over, as in seed=1,2")
        composer = Composer(self.hydra_context.config_loader, self.config)
        cells = [
            SweepCell.of(number, overrides, composer)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        jobs, paths = [cell.job for cell in cells], [cell.path for cell in cells]
        cells_in(Path(self.config.hydra.sweep.dir), jobs, paths)  # refuses two in one folder
        return self.launch_cells(cells)

    def launch_cells(self, cells: "Sequence[SweepCell]") -> list[JobReturn]:
        """Paint cells; each gets its directory, `.hydra`, log, MLflow run and return value."""
        from nst.execution.runner import paint_together

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        returns = [self._set_up(cell) for cell in cells]
        with env_override(self.config.hydra.job.env_set):
            results = paint_together([cell.job for cell in cells], self.batch_executor)
        for returned, result in zip(returns, results, strict=True):
            returned.return_value = result.loss
        return returns

    def _set_up(self, cell: "SweepCell") -> JobReturn:
        """Let Hydra make a cell's directory and write its config."""
        from nst.execution.output_dir import leave_config_alone

        leave_config_alone(cell.path)
        return run_job(
            hydra_context=self.hydra_context,
            task_function=lambda _: None,  # all are painted together, afterwards
            config=cell.config(),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
