"""Config groups of which an option is a class: optimizers, losses, initial images."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from nst.errors import NstError

# By group and name. A class is here as soon as its module is imported.
OPTIONS: dict[str, dict[str, type["Option"]]] = {}


@dataclass
class Option:
    """One option of a config group. Its fields are the settings that the config may have below the group.

    A subclass is a dataclass of plain values, all with defaults; a `name` makes it an option.

    Attributes:
        name: what the config and people call it.
        group: of the config.
    """

    group: ClassVar[str]

    name: str = ""

    def __init_subclass__(cls) -> None:
        if name := cls.__dict__.get("name"):
            known = OPTIONS.setdefault(cls.group, {})
            before = known.get(name)
            # A notebook's cell that is run again defines the same class again.
            if before and (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
                raise NstError(f"{cls.group}={name}: is {before.__module__} already; give it another name")
            known[name] = cls

    @classmethod
    def named(cls, name: str) -> Self:
        """The option of this group with its defaults; raises NstError where there is none of that name."""
        known = OPTIONS.get(cls.group, {})
        if name not in known:
            raise NstError(f"{cls.group}={name}: allowed are {', '.join(sorted(known))}; give one of them")
        option: Any = known[name]()
        return option  # type: ignore[no-any-return]

    def check(self) -> None:
        """Refuse values that cannot be painted with; raises NstError."""

    def identity(self) -> Any:
        """What of it decides a cell's pixels: its name, with its settings if it has any."""
        settings = asdict(self)
        return self.name if len(settings) == 1 else settings
