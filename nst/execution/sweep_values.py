"""What the command line and a preset sweep over: lists, ranges, globs of options and of files."""

import glob
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString

from nst.errors import NstError
from nst.io.text import natural_order

# Keys whose values may be files.
FILES = ("images.content", "images.style", "init_image.path", "model.weights")


def parse_swept(params: Any, arguments: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """What is swept over and fixed; what the command line says of a key goes before a preset's `params`.

    Raises:
        NstError: `params` is neither None nor a mapping.
    """
    if not isinstance(params, Mapping | None):
        raise NstError(f"hydra.sweeper.params={params}: must be keys with values, as in '{{seed:\"1,2\"}}'")
    said = [f"{key}={'null' if value is None else value}" for key, value in (params or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*said, *arguments])
    return list({part.get_key_element(): part for part in parsed}.values())


def product(parsed: Sequence[Override], loader: ConfigLoader) -> list[list[str]]:
    """The overrides of each cell of a grid: every combination, the last key fastest.

    Raises:
        NstError: a key is swept over nothing, or over an interval.
    """
    each = []
    for part in parsed:
        key = part.get_key_element()
        if part.is_sweep_override():
            values = values_of(part, loader.get_group_options(part.key_or_group))
        else:
            values = [part.get_value_element_as_str()]
        each.append([f"{key}={value}" for value in values])
    return [list(cell) for cell in itertools.product(*each)]


def values_of(swept: Override, options: Sequence[str] = ()) -> list[str]:
    """What a key is swept over, as on the command line.

    Args:
        swept: a list, a range, or a glob.
        options: of its group; none where it is a value.

    Raises:
        NstError: that is nothing, or cannot be counted.
    """
    value: Any = swept.value()
    line = swept.input_line
    if not swept.is_discrete_sweep():
        raise NstError(f"{line}: only a search draws from an interval; give values, or hydra/sweeper=search")
    if not isinstance(value, Glob):
        if values := list(swept.sweep_string_iterator()):
            return values
        raise NstError(f"{line}: nothing to sweep over; give values, as in A,B or range(1,4)")
    if options:
        if names := value.filter(list(options)):
            return names
        raise NstError(f"{line}: no option has such a name; allowed are {', '.join(options)}")
    if swept.key_or_group not in FILES:
        raise NstError(f"{line}: glob finds options of a group, and this is a value; give values, as in A,B")
    if files := [_quoted(path) for path in _files(value)]:
        return files
    raise NstError(f"{line}: no such file in {Path.cwd()}; give another pattern, in quotes for the shell")


def _files(pattern: Glob) -> Iterator[str]:
    """The files that a glob finds from the working directory, by name, 2 before 10."""
    include = [os.path.expanduser(part) for part in pattern.include]
    exclude = [os.path.expanduser(part) for part in pattern.exclude]
    found = {os.path.normpath(path) for part in include for path in glob.glob(part, recursive=True)}
    for path in sorted(found, key=natural_order):
        if Path(path).is_file() and not any(fnmatch(path, part) for part in exclude):
            yield path


def _quoted(text: str) -> str:
    """A value of an override that is this text, whatever signs it has."""
    return QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()
