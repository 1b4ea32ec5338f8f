"""Measures of a run's losses, and of how many iterations and seconds they took."""

import csv
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nst.errors import NstError
from nst.measures.measure import finished, register
from nst.runs.reader import Run, flatten

if TYPE_CHECKING:
    from nst.config.schema import Config

# Keys of a config, and what begins with them, that decide how a loss is minimised, not what it is.
NOT_OF_THE_OBJECTIVE = (
    "optimizer.",
    "init_image.",
    "hardware.",
    "tracking.",
    "model.fallback",
    "seed",
    "iterations",
    "save_every",
    "fps",
    "canvas_format",
    "outputs",
    "resume",
    "plan",
    "name",
    "tags",
    "notes",
)


def objective(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a total loss is a function of: a flat config, without what decides how it is minimised."""
    return {key: value for key, value in parameters if not key.startswith(NOT_OF_THE_OBJECTIVE)}


def totals(run: Run) -> list[float]:
    """The total loss at each iteration; empty if its losses.csv cannot be read."""
    found = _column(run, "total")
    return found if all(map(math.isfinite, found)) else []


def first_at(totals: Sequence[float], loss: float) -> int | None:
    """The number of evaluations after which a loss was at most `loss` first; None if it never was."""
    return next((count for count, total in enumerate(totals, 1) if total <= loss), None)


def _column(run: Run, name: str) -> list[float]:
    try:
        with (run.folder / "losses.csv").open(newline="") as file:
            return [float(row[name]) for row in csv.DictReader(file)]
    except (OSError, ValueError, LookupError, TypeError, csv.Error):
        return []


def _final(run: Run, name: str, layer: str | None) -> float:
    """The last value of a column of losses.csv, or of its part of one layer."""
    final = finished(run).record.final
    if layer is None and name in final:
        return final[name]
    column = f"{name}/{layer}" if layer else name
    if not (values := _column(run, column)):
        raise NstError(
            f"{run.folder / 'losses.csv'}: has no column {column} that can be read; paint it again"
        )
    return values[-1]


def _has_term(kind: str, config: "Config", layer: str | None) -> str | None:
    from nst.config.layers import content_layers, style_layers

    layers = content_layers(config) if kind == "content" else tuple(style_layers(config))
    if not layers:
        return f"mode={config.mode.name} has no {kind} loss; give another mode, or another measure"
    if layer is not None and layer not in layers:
        return f"{kind}_layers has no {layer}, but {', '.join(layers)}; give one of these"
    return None


def _has_content(config: "Config", other: "Config | None", layer: str | None = None) -> str | None:
    return _has_term("content", config, layer)


def _has_style(config: "Config", other: "Config | None", layer: str | None = None) -> str | None:
    return _has_term("style", config, layer)


def _is_level(config: "Config", other: "Config | None", loss: float) -> str | None:
    number = isinstance(loss, int | float) and not isinstance(loss, bool) and math.isfinite(loss)
    return None if number else f"loss={loss}: must be a number; give the total loss to reach"


def _has_one_size(config: "Config", other: "Config | None", **arguments: object) -> str | None:
    if len(config.schedule) == 1:
        return None
    return f"losses at {len(config.schedule)} sizes do not compare; give scales=single"


def _has_one_objective(config: "Config", other: "Config | None") -> str | None:
    if other is None:
        return None
    from dataclasses import asdict

    differing = _differing(objective(flatten(asdict(config))), objective(flatten(asdict(other))))
    return f"total losses compare only with the same {differing}; give another measure" if differing else None


def _differing(one: dict[str, str], two: dict[str, str]) -> str:
    return ", ".join(key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key))


@register("loss.total", source="Gatys, Ecker & Bethge, CVPR 2016, eq. 7", better="lower")
def loss_total(run: Run) -> float:
    """The last total loss, weighted. It compares where layers, weights, images and network are the same."""
    return _final(run, "total", None)


@register(
    "loss.content",
    source="as content_loss is defined; mse: Gatys, Ecker & Bethge, CVPR 2016, eq. 1",
    better="lower",
    checks=[_has_content],
)
def loss_content(run: Run, *, layer: str | None = None) -> float:
    """The last content loss, the sum over its layers or that of one layer; without `weights.content`."""
    return _final(run, "content", layer)


@register(
    "loss.style",
    source="as style_loss is defined; gram: Gatys, Ecker & Bethge, CVPR 2016, eq. 4 and 5",
    better="lower",
    checks=[_has_style],
)
def loss_style(run: Run, *, layer: str | None = None) -> float:
    """The last style loss, without `weights.style`: the sum over the style layers by `weights.style_layers`.

    That of one layer is without a weight.
    """
    return _final(run, "style", layer)


@register("loss.tv", source="Rudin, Osher & Fatemi, Physica D 60, 1992; anisotropic", better="lower")
def loss_tv(run: Run) -> float:
    """The last total variation: the mean absolute difference of neighbours, vertical and horizontal."""
    return _final(run, "tv", None)


def _totals(run: Run) -> list[float]:
    if not (found := totals(finished(run))):
        raise NstError(f"{run.folder / 'losses.csv'}: has no losses that can be read; paint it again")
    return found


def _evaluations(run: Run, loss: float) -> float:
    """The evaluations to a total loss; infinity if it was never reached."""
    count = first_at(_totals(run), loss)
    return math.inf if count is None else count


def _recorded_objective(run: Run) -> dict[str, str]:
    """The objective of a run, with the settings that there were not yet when it was painted."""
    from nst.config.composed import recorded

    values: Any = OmegaConf.to_container(run.config)  # interpolations mean something in Hydra only
    with suppress(OmegaConfBaseException):  # it has settings that there are no more
        values = OmegaConf.to_container(recorded(values))
    return objective(flatten(values))


def _same_objective(run: Run, other: Run) -> None:
    one, two = map(_recorded_objective, (run, other))
    one["model"], two["model"] = str(run.record.model.weights), str(other.record.model.weights)
    if differing := _differing(one, two):
        raise NstError(
            f"{run.folder}: its total loss does not compare with that of {other.folder}, whose {differing} "
            "differs; give another measure"
        )


def _other_loss(run: Run, other: Run) -> float:
    _same_objective(run, other)
    return _totals(other)[-1]  # as the table rounds it: the last of run.json may be below


def _common_loss(run: Run, other: Run) -> float:
    return max(_totals(run)[-1], _other_loss(run, other))


_OURS = "counted in losses.csv"
_TIMED = "timed while painting, in run.json"


@register(unit="iterations", source=_OURS, better="lower", checks=[_is_level, _has_one_size])
def iterations_to_loss(run: Run, *, loss: float) -> float:
    """The evaluations after which the total loss was at most `loss` first; infinity if it never was."""
    return _evaluations(run, loss)


@register(unit="iterations", source=_OURS, better="lower", checks=[_has_one_size, _has_one_objective])
def iterations_to_other_loss(run: Run, other: Run) -> float:
    """The evaluations to the other condition's final total loss; infinity if it was never reached."""
    return _evaluations(run, _other_loss(run, other))


@register(unit="iterations", source=_OURS, better="lower", checks=[_has_one_size, _has_one_objective])
def iterations_to_common_loss(run: Run, other: Run) -> float:
    """The evaluations to the total loss that both conditions reach: the higher of the two final ones.

    It is never infinite.
    """
    return _evaluations(run, _common_loss(run, other))


@register(unit="s", source=_TIMED, better="lower")
def seconds_per_iteration(run: Run) -> float:
    """The seconds of an iteration: the time of painting over the iterations, and over the cells of the batch.

    It is a canvas's share of its batch. Compare runs of one machine, in batches of as many cells.
    """
    timings = finished(run).record.timings
    if not timings.get("iterations_per_second"):
        raise NstError(f"{run.folder / 'run.json'}: has no timings; paint it again")
    return 1 / (timings["iterations_per_second"] * run.record.batch_cells)


@register(unit="s", source=_TIMED, better="lower", checks=[_is_level, _has_one_size])
def seconds_to_loss(run: Run, *, loss: float) -> float:
    """`iterations_to_loss` times `seconds_per_iteration`."""
    return _evaluations(run, loss) * seconds_per_iteration.of(run)


@register(unit="s", source=_TIMED, better="lower", checks=[_has_one_size, _has_one_objective])
def seconds_to_other_loss(run: Run, other: Run) -> float:
    """`iterations_to_other_loss` times `seconds_per_iteration`."""
    return _evaluations(run, _other_loss(run, other)) * seconds_per_iteration.of(run)


@register(unit="s", source=_TIMED, better="lower", checks=[_has_one_size, _has_one_objective])
def seconds_to_common_loss(run: Run, other: Run) -> float:
    """`iterations_to_common_loss` times `seconds_per_iteration`."""
    return _evaluations(run, _common_loss(run, other)) * seconds_per_iteration.of(run)
