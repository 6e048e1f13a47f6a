"""What the settings of every process share: the two URLs, and how a wrong variable is told. Reads no environment."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, ValidationError

from crossfade_stores.engine import create_store_engine

ENV_PREFIX: Final = "CROSSFADE_"
_BROKER_SCHEMES: Final = ("redis", "redis+socket", "rediss")


def _check_database(url: SecretStr) -> SecretStr:
    create_store_engine(url.get_secret_value()).dispose()
    return url


def _check_broker(url: SecretStr) -> SecretStr:
    scheme = urlsplit(url.get_secret_value()).scheme
    if scheme not in _BROKER_SCHEMES:
        raise ValueError(f"its scheme must be one of {', '.join(_BROKER_SCHEMES)}, not {scheme or 'none'!r}")
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_database)]
BrokerUrl = Annotated[SecretStr, AfterValidator(_check_broker)]


def describe_invalid(error: ValidationError) -> str:
    """Return one line that names every wrong variable and why, without showing any value's secret."""
    problems = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        name = ".".join(str(part) for part in item["loc"] if part != "[key]")
        variable, _, inner = name.partition(".")
        message = item["msg"].removeprefix("Value error, ")
        label = ENV_PREFIX + variable.upper() + (f" ({inner})" if inner else "")
        problems.append(f"{label}: {message}" if variable else message)
    return "; ".join(problems)
