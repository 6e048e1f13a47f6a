"""The worker's settings, read from `CROSSFADE_…` environment variables by its composition roots only."""

from typing import Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossfade_registries.settings import Endpoint, RegistrySettings
from crossfade_signing.settings import SigningSettings
from crossfade_stores.settings import ENV_PREFIX, BrokerUrl, DatabaseUrl, describe_invalid
from crossfade_webhooks.settings import WebhookSettings


class WorkerSettings(RegistrySettings, WebhookSettings, SigningSettings, BaseSettings):
    """One worker process, the registries it reads and writes, and what a control worker alone signs with.

    Attributes:
        database_url: Where jobs are kept: `sqlite:////…` or `postgresql://…`.
        broker_url: The Redis that delivers messages.
        lease_seconds: How long a unit belongs to a worker that has fallen silent.
        sweep_seconds: How often a control worker looks for lost messages and dead leases.
        grace_seconds: How long a worker that is told to stop may work on its unit before it gives it back.
        max_deaths: How many workers may die under a unit before its job fails; raise it where machines are often taken
            away.
        retry_seconds: How long a unit waits after its first failure; four times as long after each further one.
        keep_failed_seconds: How long a failed job keeps what its units have staged, for a retry; 0 for not at all.
        threads: How many threads stream a unit; 0 for two a core.
        device: Where tensors are computed.
        public_url: Where everybody reaches the API of this deployment; provenance names its builder by it.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    database_url: DatabaseUrl
    broker_url: BrokerUrl
    lease_seconds: float = Field(default=30, ge=1, le=3600)
    sweep_seconds: float = Field(default=3, ge=0.2, le=600)
    grace_seconds: float = Field(default=10, ge=0.1, le=3600)
    max_deaths: int = Field(default=3, ge=1, le=1000)
    retry_seconds: float = Field(default=2, ge=0.1, le=60)
    keep_failed_seconds: float = Field(default=24 * 3600, ge=0, le=90 * 24 * 3600)
    threads: int = Field(default=0, ge=0, le=256)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    public_url: Endpoint | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            SystemExit: Something is missing or makes no sense; says which variable, never its value.
        """
        try:
            return cls.model_validate({})
        except ValidationError as error:
            raise SystemExit(f"the worker cannot start: {describe_invalid(error)}") from None
