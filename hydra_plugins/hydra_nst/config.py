"""The settings of this project's launchers and sweepers, as Hydra finds them."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from nst.studies.study import Study

PLUGINS = "hydra_plugins.hydra_nst"


@dataclass
class BatchedLauncherConf:
    """`hydra/launcher=batched`."""

    _target_: str = f"{PLUGINS}.batched_launcher.BatchedLauncher"
    devices: Any = None  # all, or a list such as [cuda:0,cuda:1]: a worker process each


@dataclass
class BatchedSlurmLauncherConf:
    """`hydra/launcher=batched_slurm`: what each job asks Slurm for; None leaves it to the cluster."""

    _target_: str = f"{PLUGINS}.slurm_launcher.BatchedSlurmLauncher"
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
    """`hydra/launcher=batched_ray`: what each batch asks Ray for."""

    _target_: str = f"{PLUGINS}.ray_launcher.BatchedRayLauncher"
    address: str | None = None  # auto, or HOST:PORT of a cluster; none starts one on this machine
    gpus: float = 0
    cpus: float = 1


@dataclass
class GridSweeperConf:
    """`hydra/sweeper=presets`: the settings of Hydra's own sweeper."""

    _target_: str = f"{PLUGINS}.grid_sweeper.GridSweeper"
    max_batch_size: int | None = None  # jobs for the launcher at a time
    # What a preset sweeps over, each key as on the command line; of a typed dict OmegaConf cannot set None.
    params: Any = None
    study: Study | None = None  # what `study=NAME` says


@dataclass
class SearchSweeperConf:
    """`hydra/sweeper=search`; `params` as on the command line, also interval(a,b), tag(log, …)."""

    _target_: str = f"{PLUGINS}.search_sweeper.SearchSweeper"
    trials: int = 24
    at_once: int = 6
    objectives: list[str] = field(default_factory=lambda: ["lpips_content", "style_distance"])
    weights: list[float] | None = None  # of the objectives in one sum; none looks for their Pareto front
    seed: int = 0
    params: Any = None


for group, name, node in (
    ("launcher", "batched", BatchedLauncherConf),
    ("launcher", "batched_slurm", BatchedSlurmLauncherConf),
    ("launcher", "batched_ray", BatchedRayLauncherConf),
    ("sweeper", "presets", GridSweeperConf),
    ("sweeper", "search", SearchSweeperConf),
):
    ConfigStore.instance().store(group=f"hydra/{group}", name=name, node=node, provider="nst")
