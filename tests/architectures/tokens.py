"""Real tokenizers, made with the tokenizers library: one word, one id; tuned ones know further tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import tokenizers
import transformers

from tests.architectures.zoo import VOCABULARY

SPECIAL: Final = ("<unk>", "<s>", "</s>")
CHAT_TOKENS: Final = ("<|start|>", "<|stop|>")
CHAT_TEMPLATE: Final = "{% for message in messages %}<|start|> {{ message['content'] }} <|stop|>{% endfor %}"


def make_tokenizer(
    added: Sequence[str] = (), words: Sequence[str] | None = None
) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of 96 words, special ones first, and the tokens `added` after them."""
    words = words or [*SPECIAL, *(f"word{number}" for number in range(len(SPECIAL), VOCABULARY))]
    model = tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=SPECIAL[0])
    core = tokenizers.Tokenizer(model)
    core.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    unk, bos, eos = SPECIAL
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token=unk, bos_token=bos, eos_token=eos)
    made.add_tokens(list(added), special_tokens=True)
    return made


def save_tokenizers(base: Path, instruct: Path, added: Sequence[str] = CHAT_TOKENS) -> None:
    """Save the base's tokenizer, and the instruct's with further tokens and a chat template."""
    make_tokenizer().save_pretrained(base)
    tuned = make_tokenizer(added)
    tuned.chat_template = CHAT_TEMPLATE
    tuned.save_pretrained(instruct)
