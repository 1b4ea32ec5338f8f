"""From exceptions to one line and an exit code."""

import os
import re
import select
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, NoReturn, TypeVar, get_args

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import BooleanNode, DictConfig, EnumNode, FloatNode, IntegerNode, ListConfig, StringNode
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    KeyValidationError,
    OmegaConfBaseException,
    ValidationError,
)

from nst.config.paths import CONF
from nst.errors import NstError
from nst.io.credentials import strip_command_line
from nst.io.signals import Interrupted, raise_on_signal, raise_pending
from nst.io.text import escape_unprintable

T = TypeVar("T")

FULL = "HYDRA_FULL_ERROR"
CALLBACKS = ("hydra.callbacks", "hydra.callbacks.sweep")

# What a value must be, by what OmegaConf keeps it in, or by its type where it is one of a list.
WHOLE, NUMBER, TRUTH = "a whole number, such as 10", "a number, such as 0.5", "true or false"
WANTED: dict[Any, str] = {
    **{IntegerNode: WHOLE, int: WHOLE, FloatNode: NUMBER, float: NUMBER, BooleanNode: TRUTH, bool: TRUTH},
    **{StringNode: "text, or a name", str: "text, or a name"},
    ListConfig: "a list, such as '[1,0.5,0.1]'",
    DictConfig: "given key by key, as KEY.NAME=VALUE",
}


def run_app(main: Callable[[], object]) -> int:
    """Run a Hydra application; what goes wrong is one line on stderr and an exit code.

    Hydra prints what it catches over several lines, with a stack trace for what it does not know. It lets
    everything through when HYDRA_FULL_ERROR is set, so it is set here, and what it would have
    caught is caught here; a person who sets it themselves sees the trace.

    Returns:
        0; 1 where something unforeseen happened; 2 where a config cannot be painted. A process that was
        interrupted does not return: its exit code is 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP.
    """
    wanted = os.environ.get(FULL) == "1"
    os.environ[FULL] = "1"
    given: list[str] = []
    try:
        try:
            strip_command_line()  # before Hydra writes what it was given into files
            options, given, sweep = _split_arguments(sys.argv[1:])
            given = [quote_home(argument) for argument in given]
            sys.argv[1:] = [*options, *given]
            check_overrides(given, sweep)
            with raise_on_signal():
                main()
                raise_pending()
            sys.stdout.flush()  # here, where it is known what to do if nobody reads it
        except _PastHydra as carrier:
            raise carrier.error from None
    except KeyboardInterrupt:  # where nobody took the signal over
        print("interrupted", file=sys.stderr)
        return 130
    except Interrupted as stop:
        _leave(stop)
    except Exception as error:
        try:
            raise_pending()  # what was interrupted may have raised this in its stead
        except Interrupted as stop:
            _leave(stop)
        if wanted:
            raise
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 128 + signal.SIGPIPE
        if isinstance(error, NstError | HydraException | OmegaConfBaseException | OSError) or _hydras(error):
            print(f"error: {escape_unprintable(describe_error(error, given))}", file=sys.stderr)
            return 2
        said = escape_unprintable("; ".join(_lines(str(error))))
        print(
            f"error: {type(error).__name__}: {said} (not foreseen; {FULL}=1 shows where)",
            file=sys.stderr,
        )
        return 1
    return 0


def _leave(stop: Interrupted) -> NoReturn:
    """End the process without waiting for threads, which may wait for a server."""
    with suppress(OSError):  # after a SIGHUP there may be no terminal
        print("interrupted", file=sys.stderr, flush=True)
    os._exit(128 + stop.number)


def bypass_hydra(task: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
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


def _split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str], bool]:
    """Options, overrides, and whether -m is there; Hydra's parser does not take one of these between others.

    Raises:
        NstError: an option is unknown, or lacks its value, or -m does not go with it.
    """
    parser = get_args_parser()
    known = [name for action in parser._actions for name in action.option_strings]

    def fail(message: str) -> NoReturn:
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message)
        meant = _did_you_mean(unknown[1], known) if unknown else ""
        raise NstError(f"{message}; {meant}`--help` says what is taken")

    parser.error = fail  # type: ignore[method-assign]  # argparse's own prints how it is used, and exits
    parsed = parser.parse_intermixed_args(list(arguments))
    if parsed.multirun and parsed.cfg:
        raise NstError("-m --cfg: shows one cell only; leave out -m, or put plan=true in place of --cfg")
    given: list[str] = parsed.overrides
    left = Counter(given)
    options = []
    for argument in arguments:
        if left[argument]:
            left[argument] -= 1
        else:
            options.append(argument)
    return options, given, parsed.multirun


def quote_home(argument: str) -> str:
    """The override with its paths in the home folder quoted: Hydra's grammar has no ~ in a value."""
    if "'" in argument or '"' in argument:
        return argument
    return re.sub(r"(?<=[=,\[(])~[^,\[\]()=\\]*(?=[,\])]|$)", r'"\g<0>"', argument)


def _did_you_mean(typed: str, names: Collection[str]) -> str:
    """The name that is most like what was typed, as a question; nothing if none is like it."""
    # Of dotted keys the last part: what they share makes all of them alike.
    last = {name.rpartition(".")[2]: name for name in names}
    like = get_close_matches(typed.rpartition(".")[2], last, n=1)
    return f"did you mean {last[like[0]]}? " if like else ""


def _nobody_reads() -> bool:
    """Whether stdout is a pipe that was closed at its other end, as by `head`; then it is left alone."""
    look = select.poll()
    look.register(sys.stdout.fileno(), 0)
    gone = any(event & select.POLLERR for _, event in look.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
    return gone


def check_overrides(given: Sequence[str], sweep: bool) -> None:
    """Refuse what Hydra would take and should not, or says in its own words.

    Bytes that are no UTF-8, which no file of a run could hold; options outside `conf/`, which Hydra would
    read, and a preset's name is a part of the folder that its runs are in; a group without a name; several
    values where there is no sweep; a run without our callback.

    Args:
        given: overrides as they were typed.
        sweep: whether several values of a key are cells of a sweep.

    Raises:
        NstError: one of these.
        OverrideParseException: one is not in Hydra's grammar.
    """
    for argument in given:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise NstError(f"{argument}: not UTF-8; rename the file, or set the terminal to UTF-8") from None
        group, _, option = argument.lstrip("+~").partition("=")
        group = group.partition("@")[0].strip()
        if group.startswith("hydra/") and option.lstrip().startswith("["):
            raise NstError(f"{argument}: takes one option; give {group}=OPTION, or leave it out")
        if _is_group(group):
            for name in re.split(r"[^\w./-]+", option):
                if name.startswith("/") or ".." in name.split("/"):
                    raise NstError(f"{argument}: no such option; give a name, without .. and / before it")
    overrides = OverridesParser.create().parse_overrides(list(given))
    sweep = sweep or any(one.key_or_group == "hydra.mode" and one.value() == "MULTIRUN" for one in overrides)
    for argument, override in zip(given, overrides, strict=True):
        key, value = override.key_or_group, override.value()
        if override.is_sweep_override() and override.is_hydra_override():
            raise NstError(f"{argument}: takes one value; put text with commas in quotes of its own")
        if override.is_sweep_override() and not sweep:
            _, _, values = argument.partition("=")
            together = f", or give '{key}=[{values}]' for all of them together"
            several = together if override.is_choice_sweep() and "(" not in values else ""
            raise NstError(f"{argument}: more than one value; add -m to sweep over them{several}")
        if key == "study" and not sweep and value is not None:
            raise NstError(f"{argument}: paints many cells; add -m, as in python run.py -m {argument}")
        if _is_group(key) and not all(map(_is_name, _values_of(override))):
            raise NstError(
                f"{argument}: a group takes the name of an option, as in optimizer=adam or "
                "content_layers=none; python run.py --help lists them"
            )
        if key in CALLBACKS and (override.is_delete() or not isinstance(value, dict)):
            raise NstError(f"{argument}: checks folders and ends sweeps, and cannot be left out")


def _is_group(key: str) -> bool:
    return key.startswith("hydra/") or os.path.isdir(CONF / key)


def _values_of(override: Override) -> list[Any]:
    value: Any = override.value()
    if override.is_delete() and value is None:
        return []
    return list(value.list) if isinstance(value, ChoiceSweep) else [value]


def _is_name(value: object) -> bool:
    """Whether it may be the name of an option, or of several."""
    return isinstance(value, str | QuotedString | list | Glob)


def _hydras(error: Exception) -> bool:
    """Whether Hydra raised it over what it was given, and not our code that it called."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    packages = [module.partition(".")[0] for module in modules]
    known = [name for name in packages if name in ("hydra", "omegaconf", "hydra_plugins", "nst")]
    return known[-1] in ("hydra", "omegaconf")


def describe_error(error: BaseException, given: Sequence[str] = ()) -> str:
    """What is wrong, as `KEY=VALUE: what is allowed`; Hydra's and OmegaConf's errors put that way too.

    Args:
        error: what was raised.
        given: the overrides, which are named where the error does not say of which key it is.
    """
    text, cause = str(error), error.__cause__
    if isinstance(error, NstError):
        return text
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; outputs=FOLDER says where folders are made"
    if isinstance(error, MissingConfigException) and "/" in (error.missing_cfg_file or ""):
        return _no_such_option(str(error.missing_cfg_file), error.options or ())
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not understood as KEY=VALUE; put a value with "
            """spaces or signs in quotes of its own, as in 'images.content="a=b.jpg"'"""
        )
    for wrong in (error, cause):
        if isinstance(wrong, ConfigAttributeError | ConfigKeyError) and wrong.full_key:
            return _no_such_key(wrong, given)
        if isinstance(wrong, OmegaConfBaseException) and wrong.full_key:
            return _wrong_value(wrong)
    said = "; ".join(_lines(text)) or type(error).__name__
    return f"{' '.join(given)}: {said}" if given else said


def _lines(text: str) -> list[str]:
    """The lines of a message, without OmegaConf's own view of where it was."""
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    return [
        line for line in lines if line and not line.startswith(("full_key:", "object_type=", "reference_"))
    ]


def _no_such_option(file: str, options: Collection[str]) -> str:
    """`file` is GROUP/OPTION, and either may have more slashes."""
    group, _, option = file.rpartition("/") if file.startswith("hydra/") else file.partition("/")
    folder = CONF / group
    # Hydra does not look into subfolders, where experiment=readme/... are.
    ours = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    names = sorted(ours.union(options))
    return f"{group}={option}: no such option; {_did_you_mean(option, names)}allowed are {', '.join(names)}"


def _no_such_key(cause: OmegaConfBaseException, given: Sequence[str]) -> str:
    schema, parent = cause.object_type, str(cause.full_key).rpartition(".")[0]
    keys = {argument.lstrip("+~"): argument.lstrip("+~").partition("=")[0].strip() for argument in given}
    matching = [one for one, key in keys.items() if f"{cause.full_key}.".startswith(f"{key}.")]
    override = max(matching, key=lambda one: len(keys[one]), default="")  # optimizer.lr=1, not optimizer=adam
    names = [field.name for field in fields(schema)] if is_dataclass(schema) else []
    if not names and isinstance(cause.parent_node, DictConfig):  # an option's, which has no schema yet
        names = [str(key) for key in cause.parent_node if key != "_target_"]
    allowed = [f"{parent}.{name}" if parent else name for name in names]
    typed = str(cause.full_key)
    inner = [] if parent else _keys_of_groups(cause.parent_node, typed)
    like = inner or get_close_matches(typed.rpartition(".")[2], names, n=1)
    where = f"{parent}." if parent else ""
    meant = f"did you mean {where}{like[0]}? " if like else ""
    say = f"{meant}allowed are {', '.join(allowed)}" if allowed else "+ before it adds it"
    return f"{override or cause.full_key}: no such key; {say}"


def _keys_of_groups(config: Any, name: str) -> list[str]:
    """The keys GROUP.NAME that a config has."""
    nodes = config.items_ex(resolve=False) if isinstance(config, DictConfig) else ()
    return [f"{group!s}.{name}" for group, node in nodes if isinstance(node, DictConfig) and name in node]


def _wrong_value(wrong: OmegaConfBaseException) -> str:
    key, value, node = wrong.full_key, wrong.value, wrong.child_node
    kinds = get_args(wrong.ref_type)  # of a list's values; of a mapping's keys and values
    if isinstance(wrong, KeyValidationError):
        return f"{key}={value}: {_allowed(kinds[0])}"
    if isinstance(wrong, ConfigTypeError) and not isinstance(wrong.parent_node, ListConfig):
        return f"{key}: cannot be deleted"
    if isinstance(wrong, ConfigTypeError):
        return f"{key}: must be {WANTED[ListConfig]}"
    if not isinstance(wrong, ValidationError):
        return f"{key}: {str(wrong.msg or wrong).splitlines()[0]}"
    if value is None and node is not None:
        return f"{key}=null: must have a value; leave it out to have the default"
    if isinstance(node, EnumNode):
        said = _allowed(node.enum_type)
    else:
        kind: Any = type(node) if node is not None else kinds[0] if kinds else None
        said = f"must be {WANTED[kind]}" if kind in WANTED else "is of another kind"
    return f"{key}{'' if value is None else f'={value}'}: {said}"


def _allowed(names: type[Enum]) -> str:
    return f"allowed are {', '.join(names.__members__)}"
