"""What a job may say about what does not simply interpolate."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Policies(BaseModel):
    """What becomes of what does not simply interpolate. Every default refuses, and says what it found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    one_sided: Literal["refuse", "copy"] = Field(default="refuse", description="Tensors in one parent only.")
    other_shape: Literal["refuse", "base", "instruct"] = Field(
        default="refuse",
        description="Tensors of two shapes (other vocabulary sizes have their own policy): whose to copy.",
    )
    extra_rows: Literal["refuse", "copy"] = Field(
        default="refuse", description="Rows of embeddings and heads that only the larger vocabulary has."
    )
    tokens: Literal["refuse", "ignore"] = Field(
        default="refuse",
        description="Tokenizers that give one id to two tokens, or cannot be compared though they must.",
    )
    integers: Literal["equal", "base", "instruct"] = Field(
        default="equal", description="Integer and bool tensors: equal in both parents, or whose to copy."
    )
    non_finite: Literal["refuse", "keep"] = Field(default="refuse", description="NaN and infinity in a parent.")
    overflow: Literal["refuse", "keep"] = Field(
        default="refuse", description="Results too large for the output's dtype, which become infinite."
    )
