"""Hydra's composition of a sweep's jobs, which does not compose again what only differs in values."""

import copy
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from nst.execution.config_files import ConfigFiles
from nst.execution.option_swap import OptionSwap
from nst.execution.runner import checked_job, job_of
from nst.runs.job import Job

NAMING = ("job", "overrides", "sweep")  # what of the `hydra` node is each job's own
NUMBERED = "${hydra.job.num}"  # hydra.sweep.subdir as `conf/config.yaml` has it
CONSTANT = re.compile(r"\$\{(oc\.env|root):[^${}]*\}")  # refers to nothing in the config


@dataclass(frozen=True)
class _Chosen:
    """What all jobs that choose the same options have in common.

    Attributes:
        config: as Hydra composes it, without any values.
        plain: the keys at its top whose values refer to no others.
        read: their values as `Config` has them, as far as they were read.
        places: the sweep's folder, by the values that may decide it, where the run directories in it are
            called by their numbers.
    """

    config: DictConfig
    plain: frozenset[str]
    read: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str, ...], Path] = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Whether a value changes nothing but itself."""
        return len(self.plain) == len(self.config) - 1  # but for Hydra's


class Composer:
    """Composes each job as `ConfigLoader.load_sweep_config` does, of a thousand most in little time.

    What takes Hydra long is to find and merge the files of the groups, and those are the same for all
    jobs that choose the same options. Values come last; they are put in by Hydra's own function.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        assert isinstance(loader.repository, ConfigRepository)
        loader.repository = ConfigFiles(loader.repository)
        self.loader, self.master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, tuple[Override, bool]] = {}
        self._chosen: dict[tuple[str, ...], _Chosen] = {}
        known: Any = OmegaConf.to_container(master.hydra.overrides.hydra)  # unresolved, as it was given
        self._known: list[str] = known
        self._options = OptionSwap(loader, master)

    def __call__(self, overrides: Sequence[str], number: int) -> DictConfig:
        """The config of the sweep's job of that number; raises what Hydra raises."""
        parsed, values = self._parse(overrides)
        config = copy.deepcopy(self._choice(parsed, values).config)
        try:
            self._set(config, parsed, values, number)
        except HydraException:
            return self._by_hydra(overrides, number)
        return config

    def job(self, overrides: Sequence[str], number: int) -> tuple[Path, Job]:
        """The same job, checked, and its run directory as it was composed, for a fraction of a copy.

        Raises:
            NstError: it cannot be painted. Also what Hydra raises.
        """
        parsed, values = self._parse(overrides)
        chosen = self._choice(parsed, values)
        own = {_top(part) for part in values}
        read = {key: value for key, value in chosen.read.items() if key not in own}
        deciding = tuple(str(part.input_line) for part in values if _top(part) in ("hydra", "outputs"))
        simple = chosen.alone and not any("${" in text for text in overrides)
        place = chosen.places.get(deciding) if simple else None
        with _lent(chosen.config, own, NAMING if place is None else ()):
            try:
                config = chosen.config
                if place is None:
                    self._set(config, parsed, values, number)
                else:
                    ours = [part for part in values if not part.is_hydra_override()]
                    self.loader._apply_overrides_to_config(ours, config)
            except HydraException:
                config, read, place = self._by_hydra(overrides, number), {}, None
            if place is None:
                path = Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)
                job = job_of(config, config.hydra, path, read)
                if _numbered(config.hydra.sweep):
                    chosen.places[deciding] = path.parent
            else:
                path = place / str(number)
                task = tuple(str(part.input_line) for part in parsed if not part.is_hydra_override())
                job = checked_job(config, path, task, read)
        chosen.read.update({key: getattr(job.config, key) for key in chosen.plain - own - read.keys()})
        return path, job

    def _by_hydra(self, overrides: Sequence[str], number: int) -> DictConfig:
        """What is wrong with it is Hydra's to say, of all overrides in their order."""
        config = self.loader.load_sweep_config(self.master, list(overrides))
        _number(config, number)
        return config

    def _parse(self, overrides: Sequence[str]) -> tuple[list[Override], list[Override]]:
        """The overrides, and those of them that are values; cells have most of them in common."""
        for text in overrides:
            if text not in self._parsed:
                [part] = self._parser.parse_overrides([text])
                self._parsed[text] = part, self._is_value(part)
        known = [self._parsed[text] for text in overrides]
        return [part for part, _ in known], [part for part, is_value in known if is_value]

    def _choice(self, parsed: Sequence[Override], values: Sequence[Override]) -> _Chosen:
        choices = [part for part in parsed if part not in values]
        lines = tuple(str(part.input_line) for part in choices)
        if lines not in self._chosen:
            config = self._options.config(choices)
            written: Any = OmegaConf.to_container(config)
            told = {key: CONSTANT.sub("", repr(value)) for key, value in written.items() if key != "hydra"}
            plain = {key for key, text in told.items() if "${" not in text}
            self._chosen[lines] = _Chosen(config, frozenset(plain))
        return self._chosen[lines]

    def _set(
        self, config: DictConfig, parsed: Sequence[Override], values: list[Override], number: int
    ) -> None:
        """Put in the values, and what else of a job is its own; raises what Hydra does."""
        self.loader._apply_overrides_to_config(values, config)
        own = [part for part in parsed if not part.is_hydra_override()]
        hydra, naming = config.hydra, config.hydra.job.config.override_dirname
        hydra.overrides.task = [part.input_line for part in own]
        hydra.overrides.hydra = [
            *self._known,
            *(part.input_line for part in parsed if part.is_hydra_override()),
        ]
        hydra.job.override_dirname = get_overrides_dirname(
            own, naming.exclude_keys, naming.item_sep, naming.kv_sep
        )
        _number(config, number)

    def _is_value(self, part: Override) -> bool:
        """Whether it only changes a value: neither chooses an option, nor adds, deletes, or steers Hydra."""
        key = part.key_or_group
        return (
            part.type is OverrideType.CHANGE
            and part.package is None
            and (not part.is_hydra_override() or key.startswith("hydra.sweep."))
            # As Hydra tells them apart: a dictionary sets values of a group, a word chooses an option.
            and (isinstance(part.value(), dict) or not self.loader.repository.group_exists(key))
        )


def _top(part: Override) -> str:
    return part.key_or_group.partition(".")[0]


def _numbered(sweep: DictConfig) -> bool:
    """Whether run directories are called by their numbers, in a folder that is the same for all jobs."""
    folder, name = (str(sweep._get_node(key)) for key in ("dir", "subdir"))
    # What else it may refer to: `outputs`, which choices were made, and when.
    others = re.sub(r"\$\{(hydra\.runtime\.choices\.\w+|outputs|now:[^${}]*)\}", "", folder)
    return name == NUMBERED and not re.search(r"\$\{(?!or:|study_dir:)", others)


def _number(config: DictConfig, number: int) -> None:
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number


@contextmanager
def _lent(config: DictConfig, keys: set[str], hydras: Collection[str]) -> Iterator[None]:
    """Inside, what is changed below `keys`, or `hydras` of Hydra's, is changed in copies, gone afterwards.

    A copy of the whole config takes most of the time that a job takes, and nearly all of it is Hydra's own.
    """
    top, hydra = config._content, config.hydra._content
    assert isinstance(top, dict)
    assert isinstance(hydra, dict)
    places = [(top, key) for key in keys if key in top and key != "hydra"] + [(hydra, key) for key in hydras]
    before = [(content, key, content[key]) for content, key in places]
    try:
        for content, key, node in before:
            content[key] = copy.deepcopy(node)
        yield
    finally:
        for content, key, node in before:
            content[key] = node
