"""`mlflow server` on PostgreSQL, its artifacts served through it, and four processes that log at once."""

from pathlib import Path

import pytest
from support.logging_workers import check_arrived, log_at_once
from support.mlflow_server import free_port, serving
from support.postgres_server import missing, postgres
from support.rundirs import make_sweep

from nst.tracking.client import Store

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

CELLS = [[f"seed={seed}"] for seed in range(4)]


def test_four_processes_log_to_one_server(tmp_path: Path) -> None:
    *sweeps, shared = [make_sweep(tmp_path / name, name, CELLS, size=8) for name in "abcde"]
    with postgres(free_port()) as database, serving(tmp_path / "server", database, workers=2) as server:
        store = Store(server.uri, "at once", canvas_steps=3)
        log_at_once(sweeps, shared, store)
        runs, points, artifacts = check_arrived([*sweeps, shared], store)
        # 20 iterations of 10 losses, and 2 scores, a cell.
        assert (runs, points) == (5 * (1 + len(CELLS)), 5 * len(CELLS) * 202)
        stored = [path for path in (tmp_path / "server/artifacts").rglob("*") if path.is_file()]
        assert len(stored) == artifacts  # what was sent twice is there once
