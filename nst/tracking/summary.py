"""What the run of a sweep says of all its cells."""

from pathlib import Path
from typing import TYPE_CHECKING

from nst.io.text import markdown, markdown_code
from nst.runs.description import Description
from nst.runs.record import SweepRecord
from nst.runs.verdict_record import VerdictRecord
from nst.tracking.artifacts import picture
from nst.tracking.stored_run import log_batches
from nst.tracking.view import Point, RunView, best, millis, shared

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def summarize(
    client: "MlflowClient", run_id: str, sweep_dir: Path, sweep: SweepRecord, cells: list[RunView]
) -> None:
    """Give a sweep's run what its cells have in common, the scores of the best, a verdict, a description."""
    there, winner = client.get_run(run_id).data, best(cells)
    verdict = VerdictRecord.read(sweep_dir, lenient=True)
    # A param cannot be changed, and a folder of files keeps the same value twice.
    claim = {"study.claim": verdict.claim, "study.source": verdict.source} if verdict.verdict else {}
    params = {key: value for key, value in (shared(cells) | claim).items() if key not in there.params}
    scores = {f"scores/{key}": value for key, value in winner.record.scores.items()} if winner else {}
    scores |= _numbers(verdict)
    ended = winner.ended if winner else millis(sweep.ended or sweep.started)
    points = [Point(key, value, ended, 0) for key, value in scores.items() if there.metrics.get(key) != value]
    said = Description.of(cell.run for cell in cells)
    parts = (
        markdown(said.notes),
        markdown(sweep.title or ""),
        markdown(verdict.text) if verdict.verdict else "",
        picture(run_id, sweep_dir / "verdict.png"),
        markdown_code(sweep.command),
        f"Best of both scores: {markdown(winner.short)}" if winner and len(cells) > 1 else "",
        picture(run_id, sweep_dir / "sheet.png"),
    )
    tags = {"mlflow.note.content": "\n\n".join(filter(None, parts))}
    if winner:
        tags["nst.best"] = winner.short
    if verdict.verdict:
        tags["nst.verdict"] = verdict.verdict
        tags["nst.partial"] = str(verdict.partial).lower()
    log_batches(client, run_id, tags, params, points)


def _numbers(verdict: VerdictRecord) -> dict[str, float]:
    """The metrics of a verdict; none where there is no verdict."""
    if not verdict.verdict:
        return {}
    found: dict[str, float | None] = {"verdict/p": verdict.p}
    for effect in verdict.effects:
        name = f"verdict/{effect.measure.replace(':', '.')}"
        numbers = {"": effect.effect, "/low": effect.low, "/high": effect.high}
        numbers |= {"/pairs": len(effect.pairs), "/agree": effect.agree}
        found |= {f"{name}{part}": value for part, value in numbers.items()}
    return {key: value for key, value in found.items() if value is not None}
