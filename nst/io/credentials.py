"""Name and password in the address of a store: taken out of it, and kept in the environment alone.

MLflow looks for them in `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, and every process that
this one starts inherits them. So the address in configs, records, pages and messages may be seen by anybody.
"""

import os
import re
import sys
from urllib.parse import quote, unquote

from nst.errors import NstError

ADDRESS = "MLFLOW_TRACKING_URI"
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SECRETS = (PASSWORD, "MLFLOW_TRACKING_TOKEN")

# Of a file there are three slashes. A password may have an @ in it that nobody wrote as %40.
_GIVEN = re.compile(r"(?<=://)(?!/)(.*)@", re.DOTALL)
# A server's address takes no query at all, a database's takes some that are no secrets.
_QUERY = re.compile(
    r"(https?://[^?#]*)[?#]|(\w[\w+]*://[^?]*)\?(.*&)?[^=&]*(pass|pwd|token|secret|key)", re.I
)


def strip_command_line() -> None:
    """Take credentials out of the addresses in `sys.argv` and the environment, before anybody writes them.

    Raises:
        NstError: one of them holds what cannot be taken out; it is not shown.
    """
    sys.argv[1:] = [strip_credentials(part) if _is_address(part) else part for part in sys.argv[1:]]
    if address := os.environ.get(ADDRESS):
        os.environ[ADDRESS] = strip_credentials(address)


def strip_credentials(address: str) -> str:
    """An address, or an override with one, without its credentials: those go into the environment.

    Raises:
        NstError: it is not clear where they end, or it has a secret in its query; neither is shown.
    """
    if given := _GIVEN.search(address):
        address = address[: given.start()] + address[given.end() :]
        if re.search(r"[/?#\s]", given[1]):
            raise NstError(
                f"{address}: the name or the password before the @ has a sign in it that ends an address; "
                "write / as %2F, ? as %3F, # as %23 and a space as %20"
            )
        name, colon, password = given[1].partition(":")
        os.environ[USERNAME] = unquote(name)
        if colon:
            os.environ[PASSWORD] = unquote(password)
    check_address(address)
    return address


def check_address(address: str | None) -> None:
    """Refuse an address that holds a secret, and show no more of it than may be seen.

    Raises:
        NstError: it does.
    """
    if given := _GIVEN.search(address or ""):
        shown = f"{given.string[: given.start()]}…@{given.string[given.end() :]}"
        raise NstError(
            f"tracking.uri={shown}: a name or a password in a file of settings would be copied into every "
            f"run; set {USERNAME} and {PASSWORD} instead, or give the address on the command line, where "
            "they are taken out"
        )
    if query := _QUERY.search(address or ""):
        raise NstError(
            f"tracking.uri={query[1] or query[2]}?…: the address of a store takes no query with a secret in "
            f"it, and that of a server none at all; set {USERNAME} and {PASSWORD}, or MLFLOW_TRACKING_TOKEN"
        )


def with_credentials(address: str) -> str:
    """The address of a database with what the environment has for it; MLflow does that for servers only."""
    scheme, _, place = address.partition("://")
    name, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
    if scheme in ("http", "https") or not name or not place or place.startswith("/"):
        return address
    given = ":".join(quote(part, "") for part in (name, password) if part)
    return f"{scheme}://{given}@{place}"


def without_secrets(text: str) -> str:
    """Text of others, in which a store or a server may have named a secret, without it."""
    text = re.sub(r"(?<=://)[^/\s@]*@", "", text)
    for secret in filter(None, map(os.environ.get, SECRETS)):
        for form in (secret, quote(secret, "")):
            text = text.replace(form, "***")
    return text


def variables_needed() -> str:
    """What to add to a shown command: nothing, or the variables that hold its credentials."""
    known = [name for name in (USERNAME, *SECRETS) if os.environ.get(name)]
    return f" (with {' and '.join(known)} set)" if known else ""


def _is_address(argument: str) -> bool:
    """Whether it may be the address of a store: a bare one, as after --uri, or one with such a key."""
    key, there, _ = argument.partition("://")
    return bool(there) and ("=" not in key or bool(re.search("uri|tracking", key, re.IGNORECASE)))
