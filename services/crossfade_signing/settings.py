"""What the operator configures of signing; the control workers alone need it."""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from crossfade_core.errors import KeyMalformed

_WAYS: Final = ("signing_key", "signing_key_file", "signing_command")


def _check_key(key: SecretStr) -> SecretStr:
    from crossfade_signing.key_pairs import read_private_key

    try:
        read_private_key(key.get_secret_value().encode(), "the value")
    except KeyMalformed as error:
        raise ValueError(error.message) from None
    return key


def _check_absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_check_absolute)]


class SigningSettings(BaseModel):
    """The settings of signing, part of a process's own. At most one of the key, its file and the command is given."""

    signing_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        default=None,
        description="The EC P-256 private key that signs outputs, unencrypted PEM; without one, nothing is signed.",
    )
    signing_key_file: AbsolutePath | None = Field(
        default=None, description="The file that holds it instead, which others than owner and group cannot read."
    )
    signing_command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description='A program that signs instead, as words of JSON: ["/usr/local/bin/kms-sign", "key-7"]. It gets the '
        "bytes to sign on stdin and prints an ECDSA signature over their SHA-256, DER in base64, on stdout.",
    )
    signing_public_key_file: AbsolutePath | None = Field(
        default=None, description="The public key of that program, PEM; what it signs is checked with it."
    )
    signing_command_seconds: float = Field(
        default=30, gt=0, le=600, description="How long that program may take for one signature."
    )

    @property
    def signs(self) -> bool:
        """Whether anything is given that signs."""
        return any(getattr(self, way) for way in _WAYS)

    @model_validator(mode="after")
    def _check_ways(self) -> Self:
        given = [f"CROSSFADE_{way.upper()}" for way in _WAYS if getattr(self, way)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are set; one way to sign is expected: unset the others")
        if bool(self.signing_command) != (self.signing_public_key_file is not None):
            raise ValueError(
                "CROSSFADE_SIGNING_COMMAND and CROSSFADE_SIGNING_PUBLIC_KEY_FILE go together: set both or neither"
            )
        return self
