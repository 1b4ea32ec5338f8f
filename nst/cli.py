"""From exceptions to one line and an exit code."""

import os
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from typing import TypeVar

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from nst.config import ROOT
from nst.errors import NstError

T = TypeVar("T")

FULL = "HYDRA_FULL_ERROR"
NOT_A_NAME = "Config group override must be a string"  # Hydra raises a bare ValueError

# What OmegaConf says of a value, and what a person wants to hear.
WANTED = {
    "converted to Integer": "must be a whole number, such as 10",
    "converted to Float": "must be a number, such as 0.5",
    "not a valid bool": "must be true or false",
    "is not Optional": "must have a value; leave it out to have the default",
    "is not a ListConfig": "must be a list, such as '[1,0.5,0.1]'",
}


def guarded(main: Callable[[], object]) -> int:
    """Run a Hydra application; what goes wrong is one line on stderr and an exit code.

    Hydra prints what it catches over several lines, with a stack trace for what it does not know. It lets
    everything through when HYDRA_FULL_ERROR is set, so it is set here, and what it would have
    caught is caught here; a person who sets it themselves sees the trace.

    Returns:
        0; 1 where something unforeseen happened; 2 where a config cannot be painted; 130 for Ctrl-C.
    """
    wanted = os.environ.get(FULL) == "1"
    os.environ[FULL] = "1"
    try:
        try:
            main()
        except _PastHydra as carrier:
            raise carrier.error from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if wanted:
            raise
        foreseen = isinstance(error, NstError | HydraException | OmegaConfBaseException | OSError)
        if foreseen or str(error).startswith(NOT_A_NAME):
            print(f"error: {one_line(error)}", file=sys.stderr)
            return 2
        print(
            f"error: {type(error).__name__}: {one_line(error)} (not foreseen; {FULL}=1 shows where)",
            file=sys.stderr,
        )
        return 1
    return 0


def past_hydra(task: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
    """`task`, its errors brought to `guarded` unseen: of any it sees, Hydra prints a line of its own."""

    def attempt(composed: DictConfig) -> T:
        try:
            return task(composed)
        except Exception as error:
            raise _PastHydra(error) from error

    return attempt


class _PastHydra(BaseException):
    """Carries an error; Hydra catches an Exception only."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def one_line(error: BaseException) -> str:
    """What is wrong, as `KEY=VALUE: what is allowed`; Hydra's and OmegaConf's errors put that way too."""
    text, cause = str(error), error.__cause__
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        return _no_such_option(str(error.missing_cfg_file), error.options or ())
    if isinstance(error, OverrideParseException):
        said = next(line for line in text.splitlines() if not line.startswith("Error parsing"))
        return (
            f"{error.override}: not understood as KEY=VALUE ({said}); put a value with "
            """spaces or signs in quotes of its own, as in 'images.content="a=b.jpg"'"""
        )
    if isinstance(error, HydraException) and isinstance(cause, ConfigAttributeError | ConfigKeyError):
        # Hydra's advice holds the override as it was given.
        return _no_such_key(cause, text.partition("config use +")[2])
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        return _wrong_value(cause)
    if several := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        key, values = several.groups()
        return (
            f"{key}={values}: more than one value; add -m to sweep over them, or give "
            f"'{key}=[{values}]' for all of them together"
        )
    if text.startswith(NOT_A_NAME):
        return (
            f"GROUP={'null' if 'NoneType' in text else 'NUMBER'}: a group takes the name of an option, as "
            "in optimizer=adam or content_layers=none; python run.py --help lists them"
        )
    return "; ".join(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _no_such_option(file: str, options: Collection[str]) -> str:
    """`file` is GROUP/OPTION, and either may have more slashes."""
    group, _, option = file.rpartition("/") if file.startswith("hydra/") else file.partition("/")
    folder = ROOT / "conf" / group
    # Hydra does not look into subfolders, where experiment=readme/... are.
    ours = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    return f"{group}={option}: no such option; allowed are {', '.join(sorted(ours.union(options)))}"


def _no_such_key(cause: OmegaConfBaseException, override: str) -> str:
    schema, parent = cause.object_type, str(cause.full_key).rpartition(".")[0]
    names = [field.name for field in fields(schema)] if is_dataclass(schema) else []
    allowed = [f"{parent}.{name}" if parent else name for name in names]
    return f"{override or cause.full_key}: no such key; allowed are {', '.join(allowed)}"


def _wrong_value(cause: OmegaConfBaseException) -> str:
    said = str(cause.msg or cause).splitlines()[0]
    if choices := re.search(r"(?:expected one of|valid:) \[(.*)\]", said):
        said = f"allowed are {choices[1]}"
    said = next((wanted for part, wanted in WANTED.items() if part in said), said)
    value = "null" if cause.value is None else cause.value
    return f"{cause.full_key}={value}: {said}"
