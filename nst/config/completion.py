"""What the shell completes: groups and their options, keys and the values that they take, files.

Hydra's own completion composes a config at each Tab, which takes the seconds of importing PyTorch, and knows
neither enums nor options in folders. This one keeps what there is to know in a file, until `conf/` changes.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from nst.config.paths import CONF, PACKAGE
from nst.io.files import cache_folder

Known = Mapping[str, list[str]]  # each group and key, with what it may be set to

PATHS = re.compile(
    r"images\.(content|style|content_mask|style_mask)|init_image\.path|model\.weights|outputs|"
    r"hydra\.(run|sweep)\.dir|--config-dir|-cd"
)
OPTIONS = ("--multirun", "--help", "--cfg", "--config-dir", "--info", "--shell-completion")
PLAIN = re.compile(r"[^\s\"'\\$`()\[\]{},;&|<>*?!#]+")  # what needs no quotes, in the shell and for Hydra


def shell_of(arguments: list[str]) -> str | None:
    """The shell that asks for completions, by `-sc query=SHELL`; None if none does."""
    option, _, value = " ".join(arguments).replace("=", " ", 1).partition(" ")
    found = re.fullmatch(r"query[= ](\w+)", value)
    return found[1] if option in ("-sc", "--shell-completion") and found else None


def answer(shell: str) -> int:
    """Print what completes the line in COMP_LINE, as `shell` reads it; returns the exit code."""
    line = os.environ.get("COMP_LINE", "")
    with suppress(ValueError):
        line = line[: int(os.environ.get("COMP_POINT", len(line)))]
    print(("\n" if shell == "fish" else " ").join(completions(line, known())))
    return 0


def completions(line: str, known: Known) -> list[str]:
    """The words that the last one of a line may become."""
    words = line.split()
    at = 2 if words and Path(words[0]).name.startswith("python") else 1
    word = "" if line.endswith(" ") or len(words) <= at else words[-1]
    if len(words) > at and words[-1 if not word else -2] in ("--config-dir", "-cd"):
        return sorted(_files(word))
    sign = word[:1] if word[:1] in ("+", "~") else ""
    key, equals, value = word.removeprefix(sign).partition("=")
    if not equals:
        found = [option for option in OPTIONS if word.startswith("-")] or _keys(key, known)
        return sorted(f"{sign}{one}" for one in found if one.startswith(key))
    before = re.match(r"(.*[,\[(])?", value)[0]  # type: ignore[index]  # the values of a sweep, or of a list, so far
    begun = value[len(before) :]
    found = list(_files(begun)) if PATHS.fullmatch(key) else []
    found += [one for one in known.get(key, ()) if one.startswith(begun) and not (found and begun)]
    return sorted(f"{sign}{key}={before}{one}" for one in found)


def _keys(begun: str, known: Known) -> list[str]:
    """Groups and keys, up to the next dot or slash."""
    found = dict[str, None]()
    for name in known:
        if name.startswith(begun):
            rest = re.match(r"[^./]*[./]?", name[len(begun) :])
            part = begun + (rest[0] if rest else "")
            found[part if part.endswith((".", "/")) else f"{part}="] = None
    return list(found)


def _files(begun: str) -> Iterator[str]:
    """The files and folders that a path may become."""
    folder, _, name = begun.rpartition("/")
    folder += "/" * ("/" in begun)
    with suppress(OSError):
        for entry in os.scandir(os.path.expanduser(folder) or "."):
            hidden = entry.name.startswith(".") and not name.startswith(".")
            if entry.name.startswith(name) and not hidden and PLAIN.fullmatch(entry.name):
                yield f"{folder}{entry.name}{'/' * entry.is_dir()}"


def known() -> Known:
    """Groups and keys as they were kept, or gathered anew where `conf/` has changed."""
    files = [*sorted(CONF.rglob("*.yaml")), PACKAGE / "config/schema.py", Path(__file__)]
    state = repr([(str(path), path.stat().st_mtime_ns) for path in files])
    cache = cache_folder()
    path = cache / f"completion-{sha256(state.encode()).hexdigest()[:16]}.json"
    try:
        found: dict[str, list[str]] = json.loads(path.read_text())
    except (OSError, ValueError):
        found = gather()
        with suppress(OSError):  # without a place for it, each Tab takes longer
            cache.mkdir(parents=True, exist_ok=True)
            for old in cache.glob("completion-*.json"):
                old.unlink(missing_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(found))
            temporary.replace(path)
    return found


def gather() -> dict[str, list[str]]:
    """All groups and keys, with what each may be set to: options, names, booleans, the value it has now."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig, OmegaConf

    from nst.config.schema import Config, register
    from nst.config.settings_help import allowed_names

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config")
        loader = GlobalHydra.instance().config_loader()
        choices = {
            f"hydra/{name}": loader.get_group_options(f"hydra/{name}") for name in ("launcher", "sweeper")
        }
    for folder in filter(Path.is_dir, CONF.iterdir()):
        names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
        if folder.name != "hydra":
            choices[folder.name] = sorted(names)
    nodes = [("", config)]
    for group in set(choices).intersection(map(str, config)):
        for option in choices[group]:
            loaded = OmegaConf.load(CONF / group / f"{option}.yaml")
            if isinstance(loaded, DictConfig) and not group.endswith("_layers"):
                nodes.append((f"{group}.", loaded))
    found = dict(choices)
    for before, node in nodes:
        for key, value in _values(node, before):
            found.setdefault(key, [])
            found[key] += [one for one in value if one not in found[key]]
    for key, names in allowed_names(Config).items():
        nullable = [one for one in found.get(key, ()) if one == "null"]
        found[key] = [*names, *nullable]
    return found


def _values(node: object, before: str) -> Iterator[tuple[str, list[str]]]:
    """The keys of a config, each with what may be proposed for it."""
    from omegaconf import DictConfig, OmegaConf

    assert isinstance(node, DictConfig)
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    for key, value in plain.items():
        name = f"{before}{key!s}"
        if name.endswith(("name", "_target_")) and before:
            continue
        if isinstance(value, dict):
            if not name.endswith("_layers"):
                yield from _values(node[key], f"{name}.")
        elif isinstance(value, bool):
            yield name, ["true", "false"]
        else:
            text = "null" if value is None else str(getattr(value, "name", value))
            yield name, [text] if PLAIN.fullmatch(text) else []
