"""What a measure is, and finding one by its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial, wraps
from importlib import import_module
from inspect import Parameter, getdoc, signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nst.errors import NstError
from nst.runs.reader import Run

if TYPE_CHECKING:
    from nst.config.schema import Config

# Why cells of a config, and the other condition's if it is known, cannot have a measure; None if they can.
# It is given the measure's arguments by their names.
Check = Callable[..., str | None]


@dataclass(frozen=True)
class Measure:
    """A number of a run.

    Attributes:
        name: what the config and people call it.
        unit: empty for a pure number.
        source: where its definition comes from.
        better: "lower" or "higher"; None where neither is.
        of: of(run), or of(run, other) where it `needs_other`, each an `nst.runs.reader.Run`; raises NstError
            where a run does not have it.
        needs_other: whether it compares a run with that of the other condition of the same pair.
        checks: what `check` asks.
    """

    name: str
    unit: str
    source: str
    better: str | None
    of: Callable[..., float]
    needs_other: bool = False
    checks: Sequence[Check] = field(default=(), repr=False)

    def check(self, config: "Config", other: "Config | None" = None) -> None:
        """Raise NstError, one line, if a cell of this config cannot have the measure.

        Args:
            config: of the cell.
            other: of the cell that it is compared with, if that is known; for measures that need one.
        """
        from nst.config.film import film_of

        if film_of(config):
            raise NstError(
                f"measure={self.name}: images.content={config.images.content} is a film, and a measure is of "
                "one canvas; give a picture"
            )
        for check in self.checks:
            if reason := check(config, other):
                raise NstError(f"measure={self.name}: {reason}")


_measures: dict[str, Measure] = {}
MEASURES: Mapping[str, Measure] = MappingProxyType(_measures)


def register(
    name: str = "", *, unit: str = "", source: str, better: str | None = None, checks: Sequence[Check] = ()
) -> Callable[[Callable[..., float]], Measure]:
    """Make a measure of a function of(run), or of(run, other).

    Parameters by keyword, or with a default, are what a config may say beside the name.

    Args:
        name: if it is not the function's.
        unit, source, better, checks: as in `Measure`.

    Raises:
        NstError: there is another one of that name.
    """

    def registered(function: Callable[..., float]) -> Measure:
        called = name or function.__name__
        before = _measures.get(called)
        # A notebook's cell that is run again defines the same function again.
        if before and before.of.__module__ != function.__module__:
            raise NstError(f"measure={called}: is {before.of.__module__}'s already; give it another name")
        found = Measure(called, unit, source, better, function, _needs_other(function), tuple(checks))
        _measures[called] = found
        return found

    return registered


def measure(name: str, **arguments: Any) -> Measure:
    """The measure of that name.

    Args:
        name: a key of `MEASURES`; `NAME.LAYER` or `NAME.IMAGE`, which is NAME with that `layer` or
            with `to` that image; or `package.module:function`, a user's own, which need not be registered.
        arguments: what else it is to be told, by the names of the function's parameters.

    Raises:
        NstError: there is no such measure, or it takes no such arguments.
    """
    if ":" in name:
        found = _imported(name)
    elif name in MEASURES:
        found = MEASURES[name]
    else:
        base, _, part = name.rpartition(".")
        settings = _settings(MEASURES[base].of) if base in MEASURES else {}
        key = next((key for key in ("layer", "to") if key in settings), None)
        if key is None:
            like = [base] if base in MEASURES else get_close_matches(name, MEASURES, n=1)
            meant = f"did you mean {like[0]}? " if like else ""
            raise NstError(
                f"measure={name}: no such measure; {meant}There are {', '.join(MEASURES)}, and "
                "package.module:function for one of your own"
            )
        found, arguments = MEASURES[base], {key: part, **arguments}
    return _with(replace(found, name=name), arguments)


def finished(run: Run) -> Run:
    """The run, if it was painted to the end; raises NstError if not."""
    if not run.record.finished:
        label = run.record.status.label
        raise NstError(f"{run.folder}: is {label}, and only what is finished can be measured")
    return run


def _with(found: Measure, arguments: Mapping[str, Any]) -> Measure:
    """A measure that has been told its arguments."""
    known = _settings(found.of)
    for key, value in arguments.items():
        if key not in known:
            allowed = f"allowed are {', '.join(known)}" if known else "it has none"
            raise NstError(f"measure={found.name}: {key}={value}: no such setting; {allowed}")
    for key, default in known.items():
        if default is Parameter.empty and key not in arguments:
            raise NstError(f"measure={found.name}: needs {key}; give {key}: VALUE")
    if not arguments:
        return found
    checks = [partial(check, **arguments) for check in found.checks]
    return replace(found, of=partial(found.of, **arguments), checks=checks)


def _settings(function: Callable[..., float]) -> dict[str, Any]:
    """What a measure can be told beside its runs, with what holds if it is not."""
    entries = signature(function).parameters.values()
    return {entry.name: entry.default for entry in entries if not _is_run(entry)}


def _needs_other(function: Callable[..., float]) -> bool:
    return sum(map(_is_run, signature(function).parameters.values())) == 2


def _is_run(entry: Parameter) -> bool:
    return entry.kind is not Parameter.KEYWORD_ONLY and entry.default is Parameter.empty


def _imported(name: str) -> Measure:
    """A user's own measure, registered or not; whatever it raises is one line."""
    module, _, attribute = name.partition(":")
    try:
        own = getattr(import_module(module), attribute)
    except Exception as error:  # a module of a user's may raise anything
        raise NstError(
            f"measure={name}: cannot be imported ({_said(error)}); see to PYTHONPATH, or to the module"
        ) from error
    if isinstance(own, Measure):
        found = replace(own, name=name)
    else:
        try:
            runs = sum(map(_is_run, signature(own).parameters.values()))
        except (TypeError, ValueError):  # it cannot be called, or does not say how
            runs = 0
        if runs not in (1, 2):
            raise NstError(f"measure={name}: is no function of a run; give one, of(run) or of(run, other)")
        found = Measure(name, "", (getdoc(own) or name).partition("\n")[0], None, own, _needs_other(own))

    @wraps(found.of)
    def of(run: Run, *others: Run, **arguments: Any) -> float:
        try:
            return float(found.of(run, *others, **arguments))
        except NstError:
            raise
        except Exception as error:
            raise NstError(f"measure={name}: fails on {run.folder} ({_said(error)}); mend it") from error

    return replace(found, of=of)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
