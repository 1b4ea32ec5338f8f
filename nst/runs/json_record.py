"""JSON objects as dataclasses with typed keys, alone or as a file in a folder."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from nst.errors import NstError
from nst.io.files import format_error, load_json, read_json, warn_skipped, write_json

# Parsers of values from JSON: each returns what the record holds; for anything else it raises one of these.
WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


def require(fits: bool) -> None:
    """Raise ValueError unless a value fits."""
    if not fits:
        raise ValueError


def of_type(*kinds: type) -> Callable[[Any], Any]:
    """A parser of values of exactly these types, which keeps them: a bool is no int."""

    def parse(value: Any) -> Any:
        require(type(value) in kinds)
        return value

    return parse


as_text, as_table, as_list, as_flag = of_type(str), of_type(dict), of_type(list), of_type(bool)


def as_number(value: Any) -> float:
    """A number that a float can hold; ints stay ints."""
    float(of_type(int, float)(value))  # an int may be too large for a float
    found: float = value
    return found


def as_count(value: Any) -> int:
    """An int from 0 on."""
    require(type(value) is int and value >= 0)
    found: int = value
    return found


def as_moment(value: Any) -> str:
    """A moment in ISO 8601 with a time zone."""
    require(datetime.fromisoformat(value).tzinfo is not None)
    return str(value)


def as_numbers(value: Any) -> dict[str, float]:
    """Numbers by their names."""
    return {key: as_number(item) for key, item in value.items()}


def as_path(value: Any) -> Path | None:
    """A path; None for an empty one."""
    return Path(as_text(value)) if value else None


def as_record(kind: "type[Record]") -> Callable[[Any], "Record"]:
    """A parser of an object with typed keys."""

    def parse(value: Any) -> Record:
        record, wrong = kind.from_json(as_table(value))
        require(wrong is None)
        return record

    return parse


def json_key(parse: Callable[[Any], Any], default: Any = None, *, null: bool = False) -> Any:
    """A key of a JSON object.

    Args:
        parse: of its value.
        default: if it is absent or null; a class is called for a new one.
        null: whether it is written even if it has its default.
    """
    metadata = {"parse": parse, "null": null}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object with typed keys. Those that this version does not know are kept in `extra`."""

    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> tuple[Self, str | None]:
        """The record, and the first key whose value is wrong; such keys have their defaults."""
        known, wrong = dict[str, Any](), None
        keys = {part.name: part.metadata["parse"] for part in fields(cls) if part.metadata}
        for key, parse in keys.items():
            if content.get(key) is not None:
                try:
                    known[key] = parse(content[key])
                except WRONG:
                    wrong = wrong or key
        extra = {key: value for key, value in content.items() if key not in keys}
        return cls(**known, extra=extra), wrong

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without the keys that have their default; a few of those are written as null."""
        blank, known = type(self)(), dict[str, Any]()
        for part in fields(self):
            value = getattr(self, part.name)
            if part.metadata and value != getattr(blank, part.name):
                known[part.name] = _plain(value)
            elif part.metadata and part.metadata["null"]:
                known[part.name] = None
        return known | dict(self.extra)


def _plain(value: Any) -> Any:
    """A value of a record as JSON has it."""
    if isinstance(value, Record):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True, kw_only=True)
class RecordFile(Record):
    """A record that is a file `NAME` in a folder."""

    NAME: ClassVar[str]
    NEEDED: ClassVar[tuple[str, ...]]  # for tracking

    @classmethod
    def read(cls, folder: Path, lenient: bool = False) -> Self:
        """The record in a folder; blank if there is none.

        It is blank as well, with one warning, if it cannot be read or a value in it is wrong. `lenient`
        keeps the other values then, without a warning: to show what there is, not to rely on it.
        """
        record, wrong = cls.from_json(read_json(folder / cls.NAME))
        if lenient or (wrong is None and (wrong := record._lacks()) is None):
            return record
        warn_skipped(folder / cls.NAME, f"what it has for {wrong} is wrong")
        return cls()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The record in a folder. Raises NstError if there is none, or if it cannot be relied on."""
        path = folder / cls.NAME
        try:
            record, wrong = cls.from_json(load_json(path))
        except FileNotFoundError:
            raise NstError(f"{folder}: no {cls.NAME} in it; give a run or sweep directory") from None
        except ValueError:
            raise NstError(f"{path}: not readable as JSON; paint the run or sweep again") from None
        except OSError as error:
            raise NstError(f"{format_error(error, path)}; paint the run or sweep again") from None
        needed = (key for key in cls.NEEDED if getattr(record, key) == getattr(cls(), key))
        if wrong := wrong or record._lacks() or next(needed, None):
            raise NstError(f"{path}: what it has for {wrong} is wrong; paint the run or sweep again")
        return record

    def write(self, folder: Path) -> None:
        """Write the record into a folder, whole or not at all."""
        write_json(folder / self.NAME, self.to_json())

    @property
    def blank(self) -> bool:
        """Whether nothing is in it, as where there is no file."""
        return self == type(self)()

    def _lacks(self) -> str | None:
        """The key that is wrong because of what other keys say."""
        return None
