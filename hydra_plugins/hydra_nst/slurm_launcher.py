"""`hydra/launcher=batched_slurm`: the batches of a sweep painted by the jobs of a Slurm cluster."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from hydra_plugins.hydra_nst.batched_launcher import BatchedLauncher

if TYPE_CHECKING:
    from nst.execution.executors.base import Executor


class BatchedSlurmLauncher(BatchedLauncher):
    """Submits the batches as a job array, and waits for them."""

    def __init__(self, executor: str, workers: int, extra: dict[str, Any] | None, **asked: Any) -> None:
        super().__init__()
        self.executor, self.workers, self.extra, self.asked = executor, workers, extra, asked

    @cached_property
    def batch_executor(self) -> "Executor":
        """The jobs; raises NstError where submitit is not installed."""
        from hydra_plugins.hydra_nst.extras import require

        require("hydra/launcher=batched_slurm", "submitit", "slurm")
        from nst.execution.executors.slurm import SlurmExecutor

        asked = self.asked
        parameters = {
            "name": "nst",
            "timeout_min": asked["time"],
            "gpus_per_node": asked["gpus"],
            "cpus_per_task": asked["cpus"],
            "mem_gb": asked["memory"],
            "slurm_partition": asked["partition"],
            "slurm_signal_delay_s": asked["notice"],
            "slurm_additional_parameters": {**(self.extra or {}), "requeue": True},
        }
        given = {key: value for key, value in parameters.items() if value is not None}
        return SlurmExecutor(self.workers, self.executor, given)
