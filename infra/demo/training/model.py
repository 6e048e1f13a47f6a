"""The untrained model."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from infra.demo.training.recipe import ModelShape
from infra.demo.training.tokenizer import END, END_OF_TEXT, PAD, VOCABULARY_SIZE


def build_model(shape: ModelShape, seed: int) -> LlamaForCausalLM:
    """Build a float32 model with random weights.

    Seeds torch's global generator, which transformers draws the weights from.
    """
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.mlp_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.max_positions,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            bos_token_id=END_OF_TEXT,
            eos_token_id=END,
            pad_token_id=PAD,
            rope_theta=10000.0,
            initializer_range=0.04,
            attn_implementation="sdpa",
        )
    )
