"""Libraries that not everybody has installed."""

from importlib.util import find_spec

from nst.errors import NstError


def require(option: str, module: str, extra: str) -> None:
    """Refuse an option whose library is not installed; raises NstError."""
    if find_spec(module) is None:
        raise NstError(f"{option}: {module} is not installed; pip install '.[{extra}]' installs it")
