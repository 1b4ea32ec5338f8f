"""`hydra/launcher=batched_slurm` and `batched_ray`: the batches of a sweep painted by a cluster."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.hydra_nst.launcher import BatchedLauncher

if TYPE_CHECKING:
    from nst.execution.executors.base import Executor


@dataclass
class BatchedSlurmLauncherConf:
    """What each job asks Slurm for; None leaves it to the cluster."""

    _target_: str = "hydra_plugins.hydra_nst.cluster_launchers.BatchedSlurmLauncher"
    executor: str = "slurm"  # local tries it on this machine, without a cluster
    workers: int = 4  # into about how many jobs to cut the sweep
    partition: str | None = None
    time: int = 60  # minutes; a job that needs more is queued again, and goes on
    gpus: int = 1
    cpus: int = 4
    memory: float | None = None  # GB
    notice: int = 90  # seconds before its time is over, or it is preempted, at which a job is told
    extra: dict[str, Any] | None = None  # of sbatch, as in {account: lab}


@dataclass
class BatchedRayLauncherConf:
    """What each batch asks Ray for."""

    _target_: str = "hydra_plugins.hydra_nst.cluster_launchers.BatchedRayLauncher"
    address: str | None = None  # auto, or HOST:PORT of a cluster; none starts one on this machine
    gpus: float = 0
    cpus: float = 1


for name, node in (("batched_slurm", BatchedSlurmLauncherConf), ("batched_ray", BatchedRayLauncherConf)):
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="nst")


class BatchedSlurmLauncher(BatchedLauncher):
    """Submits the batches as a job array, and waits for them."""

    def __init__(self, executor: str, workers: int, extra: dict[str, Any] | None, **asked: Any) -> None:
        super().__init__()
        self.executor, self.workers, self.extra, self.asked = executor, workers, extra, asked

    @cached_property
    def batch_executor(self) -> "Executor":
        """The jobs; raises NstError where submitit is not installed."""
        _needs("submitit", "slurm")
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


class BatchedRayLauncher(BatchedLauncher):
    """Gives the batches to a Ray cluster."""

    def __init__(self, address: str | None, gpus: float, cpus: float) -> None:
        super().__init__()
        self.address, self.gpus, self.cpus = address, gpus, cpus

    @cached_property
    def batch_executor(self) -> "Executor":
        """The cluster; raises NstError where Ray is not installed, or no cluster answers."""
        _needs("ray", "ray")
        address = self.address or os.environ.get("RAY_ADDRESS")
        # Ray reads these when it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address is None:  # a cluster of this machine alone listens on the loopback only
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        from nst.execution.executors.ray import RayExecutor

        return RayExecutor(address, self.cpus, self.gpus)


def _needs(module: str, extra: str) -> None:
    """Refuse a launcher whose library is not installed."""
    from importlib.util import find_spec

    from nst.errors import NstError

    if find_spec(module) is None:
        raise NstError(
            f"hydra/launcher=batched_{extra}: {module} is not installed; pip install '.[{extra}]' installs it"
        )
