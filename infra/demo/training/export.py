"""Write a trained model as a folder that transformers loads: bfloat16 safetensors, configuration, tokenizer."""

import copy
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from infra.demo.training.tokenizer import build_tokenizer


def export_model(model: LlamaForCausalLM, folder: Path, *, with_chat_template: bool) -> None:
    """Write `model`, rounded to bfloat16, and its tokenizer; `model` itself keeps its float32 weights."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    build_tokenizer(with_chat_template=with_chat_template).save_pretrained(folder)
