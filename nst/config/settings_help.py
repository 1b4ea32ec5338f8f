"""The settings as `--help` shows them: the values, with the comments of `conf/` and what is allowed."""

import re
import types
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf, open_dict

from nst.config.paths import CONF
from nst.config.schema import Config

LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?P<rest>.*)")


def settings_help(*, _root_: DictConfig) -> str:
    """The config as YAML, with a comment at each key that has one; a resolver for `hydra.help.template`."""
    choices = OmegaConf.to_container(_root_.hydra.runtime.choices)
    config = _root_.copy()
    with open_dict(config):
        del config["hydra"]
    comments = _described(Config) | _comments(CONF / "config.yaml", "")
    for group, option in choices.items() if isinstance(choices, dict) else ():
        file = CONF / str(group) / f"{option}.yaml"
        if file.is_file():
            comments |= _comments(file, f"{group!s}.")
        comments.setdefault(f"{group!s}.name", f"by {group!s}=OPTION")
        if str(group).endswith("_layers"):
            comments[str(group)] = f"'{group!s}=[conv1_1,conv3_1]'; none"
    allowed = allowed_names(Config)
    lines = []
    for path, line in _paths(OmegaConf.to_yaml(config)):
        said = comments.get(path, "")
        missing = [name for name in allowed.get(path, ()) if not re.search(rf"\b{name}\b", f"{line} {said}")]
        one_of = f"of {', '.join(allowed[path])}" if missing else ""
        comment = "; ".join(filter(None, (said, one_of)))
        lines.append(f"{line} # {comment}" if comment else line)
    return "\n".join([*lines, ""]).replace("$", "$$")  # Hydra fills $NAME in what it shows


def _paths(text: str) -> list[tuple[str, str]]:
    """The lines of a YAML file, each with the dotted key that it sets, or nothing."""
    above: list[tuple[int, str]] = []
    found = []
    for line in text.splitlines():
        known = LINE.fullmatch(line)
        if known:
            indent = len(known["indent"])
            above = [*(part for part in above if part[0] < indent), (indent, known["key"])]
        found.append((".".join(key for _, key in above) if known else "", line))
    return found


def _comments(file: Path, before: str) -> dict[str, str]:
    """The comments behind the keys of a file."""
    lines = ((path, line.partition(" # ")) for path, line in _paths(file.read_text(encoding="utf-8")))
    return {f"{before}{path}": comment.strip() for path, (_, _, comment) in lines if path and comment}


def _described(schema: type, before: str = "") -> dict[str, str]:
    """What the schema itself says of its keys."""
    found = {f"{before}{key.name}": key.metadata["help"] for key in fields(schema) if "help" in key.metadata}
    for name, kind in get_type_hints(schema).items():
        if isinstance(kind, type) and is_dataclass(kind):
            found |= _described(kind, f"{before}{name}.")
    return found


def allowed_names(schema: type, before: str = "") -> dict[str, list[str]]:
    """The names that may be given to each key that takes one of a few."""
    found: dict[str, list[str]] = {}
    hints: dict[str, Any] = get_type_hints(schema)
    for field in fields(schema):
        kind = hints[field.name]
        kinds = get_args(kind) if get_origin(kind) in (types.UnionType,) else (kind,)
        for one in kinds:
            if isinstance(one, type) and issubclass(one, Enum):
                found[f"{before}{field.name}"] = list(one.__members__)
            elif is_dataclass(one) and isinstance(one, type):
                found |= allowed_names(one, f"{before}{field.name}.")
    return found
