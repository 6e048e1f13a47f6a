"""What the operator configures of webhooks; the API and the control workers need the same."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field, SecretStr

MIN_KEY_CHARACTERS: Final = 32


def _check_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < MIN_KEY_CHARACTERS:
        raise ValueError(f"must hold {MIN_KEY_CHARACTERS} characters or more, such as openssl rand -hex 32 prints")
    return key


class WebhookSettings(BaseModel):
    """The settings of webhooks, part of a process's own."""

    webhook_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        default=None,
        description="What the secrets of webhooks are derived from, the same for the API and the control workers; "
        "without it no webhooks are sent.",
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description='Networks that are not public and may be sent to all the same, without TLS too: ["10.1.0.0/16"].',
    )
