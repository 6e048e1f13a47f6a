"""The byte-level tokenizer: ids 0 to 255 are bytes, then five special tokens, padded to 264 ids."""

from transformers import PreTrainedTokenizerFast

END_OF_TEXT, USER, ASSISTANT, END, PAD = range(256, 261)
SPECIAL_TOKENS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")
VOCABULARY_SIZE = 264
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% else %}<|user|>{% endif %}"
    "{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def encode(text: str) -> list[int]:
    """Give the ids of plain text: its UTF-8 bytes."""
    return list(text.encode("utf-8"))


def prompt_ids(question: str) -> list[int]:
    """Give the ids of one user turn, up to where the assistant's answer begins."""
    return [END_OF_TEXT, USER, *encode(question), END, ASSISTANT]


def turn_ids(question: str, answer: str) -> list[int]:
    """Give the ids of one user turn and its answer, end token included."""
    return [*prompt_ids(question), *encode(answer), END]


def build_tokenizer(*, with_chat_template: bool) -> PreTrainedTokenizerFast:
    """Build the same tokenizer in the form that transformers saves and loads."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {character: byte for byte, character in _printable_bytes().items()}
    vocabulary |= {token: END_OF_TEXT + i for i, token in enumerate(SPECIAL_TOKENS)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE if with_chat_template else None
    return wrapped


def _printable_bytes() -> dict[int, str]:
    """Map every byte to the printable character that byte-level BPE writes for it.

    Source: the table GPT-2 introduced, which `tokenizers` uses for its ByteLevel pre-tokenizer.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
