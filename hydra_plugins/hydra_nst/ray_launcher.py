"""`hydra/launcher=batched_ray`: the batches of a sweep painted by a Ray cluster."""

import os
from functools import cached_property
from typing import TYPE_CHECKING

from hydra_plugins.hydra_nst.batched_launcher import BatchedLauncher

if TYPE_CHECKING:
    from nst.execution.executors.base import Executor


class BatchedRayLauncher(BatchedLauncher):
    """Gives the batches to a Ray cluster."""

    def __init__(self, address: str | None, gpus: float, cpus: float) -> None:
        super().__init__()
        self.address, self.gpus, self.cpus = address, gpus, cpus

    @cached_property
    def batch_executor(self) -> "Executor":
        """The cluster; raises NstError where Ray is not installed, or no cluster answers."""
        from hydra_plugins.hydra_nst.extras import require

        require("hydra/launcher=batched_ray", "ray", "ray")
        address = self.address or os.environ.get("RAY_ADDRESS")
        # Ray reads these when it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address is None:  # a cluster of this machine alone listens on the loopback only
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        from nst.execution.executors.ray import RayExecutor

        return RayExecutor(address, self.cpus, self.gpus)
