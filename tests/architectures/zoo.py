"""Real architectures, instantiated small from their configs: nothing is downloaded, a model has some 50 000 weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

VOCABULARY: Final = 96
IMAGE_TOKEN: Final = 95
PROMPT: Final = (5, 17, 40, 8)

SMALL: Final[dict[str, Any]] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED: Final[dict[str, Any]] = {**SMALL, "num_key_value_heads": 2}
SMALL_EYES: Final[dict[str, Any]] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}


def text_inputs() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([PROMPT])}


def image_inputs(image_tokens: int, before: tuple[int, ...] = (), **image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a prompt that begins with an image of `image_tokens` tokens, announced by the tokens `before`."""
    ids = torch.tensor([[*before, *[IMAGE_TOKEN] * image_tokens, *PROMPT]])
    return {"input_ids": ids, **image}


def qwen_image_inputs() -> dict[str, torch.Tensor]:
    inputs = image_inputs(4, before=(93,), pixel_values=pixels(16, 96), image_grid_thw=torch.tensor([[1, 4, 4]]))
    return {**inputs, "mm_token_type_ids": (inputs["input_ids"] == IMAGE_TOKEN).int()}


def pixels(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9)).bfloat16()


@dataclass(frozen=True)
class Architecture:
    """One architecture: how to make its config, how transformers loads it, and something to say to it."""

    config: Callable[..., PreTrainedConfig]
    options: Mapping[str, Any]
    dtype: torch.dtype = torch.bfloat16
    auto: Any = transformers.AutoModelForCausalLM
    inputs: Callable[[], dict[str, torch.Tensor]] = text_inputs

    def instantiate(self, **changes: Any) -> PreTrainedModel:
        """Return a model with the config's own initial weights, which the global seed decides."""
        config = self.config(**{**self.options, **changes})
        model: PreTrainedModel = self.auto.from_config(config, dtype=self.dtype).eval()
        return model


def _llava(**options: Any) -> PreTrainedConfig:
    text = transformers.LlamaConfig(**GROUPED)
    eyes = transformers.CLIPVisionConfig(**SMALL_EYES)
    return transformers.LlavaConfig(text_config=text, vision_config=eyes, image_token_index=IMAGE_TOKEN, **options)


SIGHT: Final = transformers.AutoModelForImageTextToText

ARCHITECTURES: Final[dict[str, Architecture]] = {
    "llama": Architecture(transformers.LlamaConfig, GROUPED),
    "qwen2": Architecture(transformers.Qwen2Config, GROUPED, torch.float16),
    "gemma2": Architecture(transformers.Gemma2Config, {**GROUPED, "head_dim": 8}),
    "mixtral": Architecture(transformers.MixtralConfig, {**GROUPED, "num_local_experts": 4}),
    "qwen3_moe": Architecture(
        transformers.Qwen3MoeConfig,
        {**GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    ),
    "gpt_neox": Architecture(transformers.GPTNeoXConfig, SMALL, torch.float16),
    "phi": Architecture(transformers.PhiConfig, SMALL, torch.float32),
    "gpt2": Architecture(
        transformers.GPT2Config,
        {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
        | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        torch.float32,
    ),
    "gemma3": Architecture(
        transformers.Gemma3Config,
        {
            "text_config": {**GROUPED, "head_dim": 8},
            "vision_config": SMALL_EYES,
            "mm_tokens_per_image": 4,
            "image_token_index": IMAGE_TOKEN,
        },
        auto=SIGHT,
        inputs=lambda: image_inputs(4, pixel_values=pixels(1, 3, 16, 16)),
    ),
    "llava": Architecture(_llava, {}, auto=SIGHT, inputs=lambda: image_inputs(16, pixel_values=pixels(1, 3, 16, 16))),
    "qwen2_vl": Architecture(
        transformers.Qwen2VLConfig,
        {
            "text_config": {**GROUPED, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
            "vision_config": {"embed_dim": 16, "hidden_size": 32, "depth": 1, "num_heads": 2, "patch_size": 4},
            "image_token_id": IMAGE_TOKEN,
            "video_token_id": 94,
            "vision_start_token_id": 93,
            "vision_end_token_id": 92,
        },
        auto=SIGHT,
        inputs=qwen_image_inputs,
    ),
}
