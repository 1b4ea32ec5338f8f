"""Hydra's callback around a run or a sweep, whichever sweeper and launcher make it."""

import time
from contextlib import suppress
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from nst.tracking.background import tracker_of, tracking_of

# What is done is in nst.lifecycle, which imports PyTorch: MLflow is imported beside it, in another process.


class SweepCallback(Callback):
    """Begins runs and sweeps, and ends sweeps.

    It works from the sweep's folder alone, because cells may be painted in other processes; it keeps no
    tracker, because launchers send it to those.
    """

    def __init__(self, title: str | None = None, order: int | None = None) -> None:
        """Take what a preset says of itself; `order` is for the sweeper, which reads it in the config."""
        self.title = title
        self.began = time.monotonic()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _start_tracking(config)
        from nst.lifecycle import begin_run

        begin_run(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _start_tracking(config)
        from nst.lifecycle import begin_multirun

        begin_multirun(config, self.title)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from nst.lifecycle import end_multirun

        end_multirun(config, self.began)


def _start_tracking(config: DictConfig) -> None:
    with suppress(Exception):  # which is told later, and of which Hydra would make a warning
        tracker = tracker_of(tracking_of(config))
        if tracker and not config.plan:
            tracker.start()
