"""Hydra's own settings that a run could not be painted or found again with."""

from pathlib import Path
from typing import Any

from hydra.types import RunMode

from nst.config.options import OPTION_GROUPS
from nst.errors import NstError
from nst.execution.output_dir import SEARCH

# Groups of which a cell has one option.
SINGLE = ("model", *OPTION_GROUPS, "weights", "images", "tracking", "hardware")
CONFIG_FOLDER = ".hydra"


def check_hydra(hydra: Any) -> None:
    """Refuse what Hydra would do, and a run cannot be painted or read with.

    Args:
        hydra: the `hydra` node of a cell's config.

    Raises:
        NstError: which setting it is, and what is allowed.
    """
    choices = hydra.runtime.choices
    for group in SINGLE:
        # Hydra merges several options of any group, and then names no choice; only layers are meant so.
        if group not in choices:
            raise NstError(f"{group}=[...]: takes one option; give one, or sweep over them: -m {group}=A,B")
    check_output_subdir(hydra)
    if hydra.mode is RunMode.MULTIRUN:
        name = str(hydra.sweep.subdir)
        if not name or name != Path(name).name or name.startswith(".") or name in SEARCH:
            raise NstError(
                f"hydra.sweep.subdir={name}: takes the name of one folder, which begins with no dot and is "
                "that of no file of a sweep; leave it out, and each cell has its number"
            )


def check_output_subdir(hydra: Any) -> None:
    """Refuse to have the config of a run written elsewhere than where it is read, or not at all."""
    if hydra.output_subdir != CONFIG_FOLDER:
        said = "null" if hydra.output_subdir is None else hydra.output_subdir
        raise NstError(
            f"hydra.output_subdir={said}: must be {CONFIG_FOLDER}, where the config of a run is read; "
            "leave it out"
        )
