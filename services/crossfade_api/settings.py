"""What the API process is told by its environment, each default written once; nonsense refuses to start.

Variables carry the prefix `CROSSFADE_`; dictionaries are JSON. Never logged, never shown: secrets are `SecretStr`.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossfade_api.auth import is_loopback
from crossfade_registries.settings import RegistrySettings
from crossfade_stores.settings import ENV_PREFIX, BrokerUrl, DatabaseUrl
from crossfade_webhooks.settings import WebhookSettings


def _check_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
        raise ValueError("must be one or more printable ASCII characters without spaces; unset it for no token")
    return token


Token = Annotated[SecretStr, AfterValidator(_check_token)]


class ApiSettings(RegistrySettings, WebhookSettings, BaseSettings):
    """The settings of one API process, and the registries it looks into."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    database_url: DatabaseUrl = Field(description="Where jobs are kept: sqlite:////abs/file.db or postgresql://…")
    broker_url: BrokerUrl = Field(description="Where messages go: redis://… or redis+socket:///path?virtual_host=0")
    api_host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    api_port: int = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    api_processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that answer on that port; each has the use of one core, "
        "and counts requests and keeps headers by itself.",
    )
    header_cache_bytes: int = Field(
        default=256 << 20,
        ge=0,
        description="Memory for the headers and tokenizers of checkpoints planned before; a tensor is about 0.6 kB, a "
        "token 0.13 kB. 0 reads them anew each time.",
    )
    api_token: Token | None = Field(
        default=None, description="Bearer token that every /v1 call must carry; may be unset on loopback only."
    )
    requests_per_minute: int = Field(
        default=1200, ge=0, description="Of a caller whose key states no limit of its own; 0 for no limit."
    )

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if self.api_token is None and not is_loopback(self.api_host):
            raise ValueError(
                f"CROSSFADE_API_HOST is {self.api_host!r}, which others can reach, and CROSSFADE_API_TOKEN is not set; "
                "set a token, or listen on 127.0.0.1"
            )
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            pydantic.ValidationError: A variable is missing or makes no sense.
        """
        return cls.model_validate({})
