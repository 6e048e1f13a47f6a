"""A vocabulary is what the programs that read its file make of it; two of them conflict where one id is two tokens."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers.integrations.mistral.tokenizer import MistralConverter

from crossfade_core.errors import DuplicateKey, TokenizerMalformed
from crossfade_core.vocabulary import (
    ADDED_FILES,
    TOKENIZER_FILES,
    TokenConflict,
    conflicts,
    describe,
    read_vocabulary,
    tokenizer_files,
)

CORPUS = ["the quick brown fox jumps over the lazy dog", "naïve café 中文 emoji 🙂", "def main(): return 0"] * 3
SENTENCEPIECE_FILES = ["tokenizer.model", "spiece.model", "spm.model"]
TOKENS = st.sampled_from("abcdefgh")


def encoded(document):
    return json.dumps(document).encode()


def tokenizer_json(vocab, added=(), **model):
    """A tokenizer.json that the tokenizers library loads."""
    shape = {"type": "Unigram", "unk_id": 0} if isinstance(vocab, list) else {"type": "WordLevel", "unk_token": "a"}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return encoded(
        {
            "version": "1.0",
            **dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")),
            "added_tokens": [{"id": id_, "content": content, **flags} for id_, content in added],
            "model": {**shape, "vocab": vocab, **model},
        }
    )


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text, score=b"\x15\x00\x00\x80\xbf", kind=b"\x18\x01"):
    return field(1, field(1, text.encode()) + score + kind)


def sentencepiece(pieces):
    """A ModelProto: pieces, then a trainer spec and a normalizer spec that hold a field 1 of their own."""
    return b"".join(map(piece, pieces)) + field(2, field(1, b"corpus.txt")) + field(3, field(1, b"nmt_nfkc"))


def tekken(tokens, special, size, first):
    return encoded(
        {
            "config": {"pattern": ".", "default_vocab_size": size, "default_num_special_tokens": first},
            "vocab": [
                {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
                for rank, token in enumerate(tokens)
            ],
            "special_tokens": [
                {"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(special)
            ],
        }
    )


def decoder(tokens):
    return encoded({"added_tokens_decoder": {str(id_): {"content": token} for id_, token in tokens.items()}})


def byte_level(text):
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return "".join(token for token, _ in split)


def trained(kind):
    special = ["<unk>", "<s>", "[PAD]"]
    if kind == "BPE":
        tokenizer = Tokenizer(models.BPE(byte_fallback=False))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    elif kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<s>"])
    tokenizer.add_tokens(["café", "the"])
    return tokenizer


@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece"])
@pytest.mark.parametrize("is_pretty", [True, False])
def test_vocabulary_of_a_trained_tokenizer_is_the_librarys_own(kind, is_pretty):
    tokenizer = trained(kind)
    vocabulary = read_vocabulary({"tokenizer.json": tokenizer.to_str(pretty=is_pretty).encode()})
    assert vocabulary == {id_: token for token, id_ in tokenizer.get_vocab(with_added_tokens=True).items()}


def in_library(loaded):
    return {id_: token for id_ in range(60) if (token := loaded.id_to_token(id_)) is not None}


@given(st.permutations("abcdef"), st.integers(0, 6), st.lists(st.tuples(st.integers(0, 12), TOKENS | st.just(""))))
def test_added_tokens_have_the_ids_that_the_library_gives_them_whatever_the_file_states(tokens, size, added):
    raw = tokenizer_json({token: id_ for id_, token in enumerate(tokens[:size])}, added)
    assert read_vocabulary({"tokenizer.json": raw}) == in_library(Tokenizer.from_str(raw.decode()))


@given(st.lists(st.integers(0, 12), unique=True, min_size=1, max_size=6), st.lists(TOKENS))
def test_ids_that_the_library_wrote_are_kept_where_a_model_leaves_ids_out(ids, added):
    tokenizer = Tokenizer(models.WordLevel(dict(zip("abcdef", ids, strict=False)), unk_token="a"))
    tokenizer.add_tokens(added)
    assert read_vocabulary({"tokenizer.json": tokenizer.to_str().encode()}) == in_library(tokenizer)


def test_added_token_wins_over_the_models_own_of_that_id():
    assert read_vocabulary({"tokenizer.json": tokenizer_json({"a": 0, "b": 2}, [(2, "x")])}) == {0: "a", 2: "x"}


@given(st.lists(st.tuples(TOKENS, st.just(-1.0)), min_size=1), st.lists(st.tuples(st.integers(0, 12), TOKENS)))
def test_id_of_a_unigram_token_is_its_place(vocab, added):
    raw = tokenizer_json(vocab, added)
    assert read_vocabulary({"tokenizer.json": raw}) == in_library(Tokenizer.from_str(raw.decode()))


def test_tokenizer_without_added_tokens_is_its_model():
    assert read_vocabulary({"tokenizer.json": encoded({"model": {"vocab": {"a": 0, "b": 7}}})}) == {0: "a", 7: "b"}


def test_tekken_vocabulary_is_what_transformers_converts_it_to(tmp_path):
    tokens = [bytes([byte]) for byte in range(256)] + ["é".encode(), b" t", "中".encode(), b"unused"]
    raw = tekken(tokens, ["<unk>", "<s>", "[INST]"], 10 + 259, 10)
    (tmp_path / "tekken.json").write_bytes(raw)
    converted = MistralConverter(str(tmp_path / "tekken.json")).converted().get_vocab()
    named = {id_: token for token, id_ in converted.items() if not token.startswith("<SPECIAL_")}
    assert read_vocabulary({"tekken.json": raw}) == named
    assert len(named) == 3 + 259


def test_ids_that_tekken_only_reserves_cost_nothing():
    assert read_vocabulary({"tekken.json": tekken([b"a"], ["<unk>"], 2**32, 2**32 - 2)}) == {0: "<unk>", 2**32 - 2: "a"}


def test_older_tekken_without_special_tokens_names_none():
    document = json.loads(tekken([b"a"], [], 11, 10))
    del document["special_tokens"]
    assert read_vocabulary({"tekken.json": encoded(document)}) == {10: "a"}


@pytest.mark.parametrize("file", ["tiktoken.model", "tokenizer.model"])
def test_tiktoken_bytes_are_spelled_in_the_byte_level_alphabet(file):
    texts = ["a", " the", "\n\n", "中", "é🙂", "\x7f\xa0\xad"]
    lines = [base64.b64encode(text.encode()) + b" %d" % (id_ + 5) for id_, text in enumerate(texts)]
    vocabulary = read_vocabulary({file: b"\n".join(lines) + b"\n\n"})
    assert vocabulary == {id_ + 5: byte_level(text) for id_, text in enumerate(texts)}


@pytest.mark.parametrize("file", SENTENCEPIECE_FILES)
@given(pieces=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200), min_size=1))
def test_id_of_a_sentencepiece_is_its_place(file, pieces):
    assert read_vocabulary({file: sentencepiece(pieces)}) == dict(enumerate(pieces))


def test_unknown_fields_of_every_wire_type_are_stepped_over():
    unknown = varint(9 << 3) + varint(2**40) + varint(10 << 3 | 1) + bytes(8) + varint(11 << 3 | 5) + bytes(4)
    raw = unknown + field(1, unknown + field(1, b"first") + field(1, b"last")) + unknown + piece("b")
    assert read_vocabulary({"tokenizer.model": raw}) == {0: "last", 1: "b"}


def test_sentencepiece_of_fairseq_counts_as_its_checkpoints_do():
    raw = sentencepiece(["<unk>", "<s>", "</s>", ",", "▁the"])
    read = read_vocabulary({"sentencepiece.bpe.model": raw, "tokenizer_config.json": decoder({6: "<mask>"})})
    assert read == {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>", 4: ",", 5: "▁the", 6: "<mask>"}


def test_lines_of_a_vocab_txt_are_its_ids():
    raw = "[PAD]\n[UNK]\r\nthe\n##\u2028x\n\x85\n\nlast".encode()
    assert read_vocabulary({"vocab.txt": raw}) == dict(
        enumerate(["[PAD]", "[UNK]", "the", "##\u2028x", "\x85", "", "last"])
    )


@pytest.mark.parametrize(
    ("file", "raw"),
    [
        ("vocab.json", encoded({"a": 0, "b": 1, "c": 2})),
        ("vocab.txt", b"a\nb\nc\n"),
        ("tokenizer.model", sentencepiece(["a", "b", "c"])),
        ("tiktoken.model", b"YQ== 0\nYg== 1\nYw== 2\n"),
    ],
)
def test_tokens_added_beside_a_vocabulary_belong_to_it(file, raw):
    files = {file: raw, "added_tokens.json": encoded({"<x>": 3, "<stale>": 4}), "README.md": b"\xff"}
    assert read_vocabulary(files) == {0: "a", 1: "b", 2: "c", 3: "<x>", 4: "<stale>"}
    files["tokenizer_config.json"] = decoder({4: "<y>", 2: "<z>"})
    assert read_vocabulary(files) == {0: "a", 1: "b", 2: "<z>", 3: "<x>", 4: "<y>"}
    assert list(read_vocabulary(files)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("config", [{}, {"added_tokens_decoder": None}, {"added_tokens_decoder": {}}])
def test_tokenizer_config_without_added_tokens_adds_none(config):
    assert read_vocabulary({"vocab.txt": b"a", "tokenizer_config.json": encoded(config)}) == {0: "a"}


@pytest.mark.parametrize("file", ["tokenizer.json", "tekken.json"])
def test_formats_that_hold_their_added_tokens_look_nowhere_else(file):
    raw = {"tokenizer.json": tokenizer_json({"a": 0}), "tekken.json": tekken([b"a"], [], 1, 0)}[file]
    assert read_vocabulary({file: raw, "added_tokens.json": b"\xff", "tokenizer_config.json": b"\xff"}) == {0: "a"}


def test_preferred_file_is_read_and_the_others_are_left_alone():
    raw = {
        "tokenizer.json": tokenizer_json({"tokenizer.json": 0}),
        "tekken.json": tekken([b"tekken.json"], [], 1, 0),
        "vocab.json": encoded({"vocab.json": 0}),
        "tokenizer.model": sentencepiece(["tokenizer.model"]),
        "spiece.model": sentencepiece(["spiece.model"]),
        "spm.model": sentencepiece(["spm.model"]),
        "sentencepiece.bpe.model": sentencepiece(["sentencepiece.bpe.model"]),
        "tiktoken.model": base64.b64encode(b"tiktoken.model") + b" 0",
        "vocab.txt": b"vocab.txt",
    }
    assert list(raw) == list(TOKENIZER_FILES)
    for place, file in enumerate(TOKENIZER_FILES):
        behind = dict.fromkeys(TOKENIZER_FILES[place + 1 :], b"\xff")
        expected = "<s>" if file == "sentencepiece.bpe.model" else file
        assert read_vocabulary({**behind, file: raw[file]})[0] == expected


def test_folder_without_a_known_file_has_no_vocabulary():
    assert read_vocabulary({}) is None
    assert read_vocabulary({"merges.txt": b"", "added_tokens.json": b"{}", "tokenizer_config.json": b"{}"}) is None


def test_files_of_one_kind_are_chosen_where_both_parents_have_it():
    base = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "config.json"}
    instruct = {"tokenizer.model", "added_tokens.json", "tokenizer_config.json"}
    assert tokenizer_files(base, base) == (("tokenizer.json",), ("tokenizer.json",))
    of_base = ("tokenizer.model", "tokenizer_config.json")
    of_instruct = ("tokenizer.model", "added_tokens.json", "tokenizer_config.json")
    assert tokenizer_files(base, instruct) == (of_base, of_instruct)
    assert tokenizer_files(instruct, base) == (of_instruct, of_base)


def test_files_of_two_kinds_are_chosen_where_there_is_nothing_better():
    assert tokenizer_files(["tekken.json"], ["spiece.model", "tokenizer.json", "added_tokens.json"]) == (
        ("tekken.json",),
        ("tokenizer.json",),
    )


@pytest.mark.parametrize(("base", "instruct"), [([], []), (["vocab.txt"], []), ([], ["vocab.txt"])])
def test_no_files_are_chosen_where_one_parent_has_no_vocabulary(base, instruct):
    assert tokenizer_files(base, [*instruct, "merges.txt", *ADDED_FILES]) is None


@pytest.mark.parametrize(
    ("file", "raw"),
    [
        *(
            (file, raw)
            for file in ("tokenizer.json", "tekken.json", "vocab.json")
            for raw in (b"", b"[]", b"\xff", b"1")
        ),
        *((file, b'{"a":' * 100_000) for file in ("tokenizer.json", "tekken.json", "vocab.json")),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", encoded({"model": []})),
        ("tokenizer.json", encoded({"model": {"vocab": "abc"}})),
        ("tokenizer.json", encoded({"model": {"vocab": None}})),
        *(("tokenizer.json", tokenizer_json({"a": id_})) for id_ in (None, "0", True, 1.0, -1, 2**32, [0])),
        *(("tokenizer.json", tokenizer_json([entry])) for entry in ("a", [], ["a"], [1, 0.0], {"a": 0}, None)),
        ("tokenizer.json", tokenizer_json({"a": 1, "b": 1})),
        ("tokenizer.json", tokenizer_json({"a": 0}, [(1, None)])),
        ("tokenizer.json", tokenizer_json({"a": 0}, [("1", "b")])),
        ("tokenizer.json", tokenizer_json({"a": 7}, [(1, "b"), (1, "c")])),
        ("tokenizer.json", encoded({"model": {"vocab": {}}, "added_tokens": "<x>"})),
        ("tokenizer.json", encoded({"model": {"vocab": {}}, "added_tokens": [1]})),
        ("tokenizer.json", encoded({"model": {"vocab": {}}, "added_tokens": [{"content": "<x>"}]})),
        ("tekken.json", b"{}"),
        ("tekken.json", encoded({"config": 1, "vocab": []})),
        ("tekken.json", tekken([b"a"], [], None, 0)),
        ("tekken.json", tekken([b"a"], [], 10, "1")),
        ("tekken.json", tekken([b"a"], [], 10, -1)),
        ("tekken.json", tekken([b"a"], ["<unk>", "<s>"], 10, 1)),
        ("tekken.json", tekken([b"a"], [], 10, 1).replace(b"YQ==", b"Y")),
        ("tekken.json", tekken([b"a"], [], 10, 1).replace(b"YQ==", b"Y!Q==")),
        ("tekken.json", tekken([b"a"], [], 10, 1).replace(b"YQ==", "é".encode())),
        ("tekken.json", tekken([b"a"], [], 10, 1).replace(b"token_bytes", b"bytes")),
        ("vocab.json", encoded({"eng": {"a": 0}})),
        ("vocab.json", encoded({"a": 0, "b": 0})),
        ("vocab.txt", b"a\n\xff\n"),
        *((file, raw) for file in SENTENCEPIECE_FILES for raw in (b"", b"\x00", b"\xff", sentencepiece([]))),
        ("tokenizer.model", sentencepiece(["a", "b"])[:-1]),
        ("tokenizer.model", sentencepiece(["a", ""])),
        ("tokenizer.model", field(1, field(2, b"a"))),
        ("tokenizer.model", field(1, field(1, b"\xff"))),
        ("tokenizer.model", b"\x0a" + varint(2**40) + b"a"),
        ("tokenizer.model", b"\x0a" + b"\xff" * 100),
        ("tokenizer.model", piece("a") + b"\x0b"),
        ("tokenizer.model", field(1, b"\x0a\x05a") + piece("after")),
        ("tokenizer.model", b"YQ== 0\nnot base64"),
        ("tiktoken.model", b"YQ== 0\nYg== 0"),
        ("tiktoken.model", b"YQ== 4294967296"),
        ("tiktoken.model", b"YQ== -1"),
        ("tiktoken.model", b"Y 1"),
        ("tiktoken.model", b"\xd9\xa1 1"),
        ("sentencepiece.bpe.model", b""),
    ],
)
def test_malformed_vocabulary_is_refused_and_its_file_named(file, raw):
    with pytest.raises(TokenizerMalformed, match=file.replace(".", r"\.")) as caught:
        read_vocabulary({file: raw})
    assert caught.value.details["file"] == file
    assert len(caught.value.message) < 1000
    json.dumps(caught.value.as_record(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("file", "raw"),
    [
        ("added_tokens.json", b"[]"),
        ("added_tokens.json", encoded({"<x>": "3"})),
        ("added_tokens.json", encoded({"<x>": 3, "<y>": 3})),
        ("tokenizer_config.json", b"null"),
        ("tokenizer_config.json", encoded({"added_tokens_decoder": [1]})),
        ("tokenizer_config.json", encoded({"added_tokens_decoder": {"3": "<x>"}})),
        ("tokenizer_config.json", encoded({"added_tokens_decoder": {"3": {"content": 1}}})),
        *(("tokenizer_config.json", decoder({key: "<x>"})) for key in ("", "x", "-1", "1.0", "²", "٣", "9" * 5000)),
        ("tokenizer_config.json", encoded({"added_tokens_decoder": {"3": {"content": "x"}, "03": {"content": "y"}}})),
    ],
)
def test_malformed_added_tokens_are_refused_and_their_file_named(file, raw):
    with pytest.raises(TokenizerMalformed, match=file.replace(".", r"\.")) as caught:
        read_vocabulary({"vocab.txt": b"a", file: raw})
    assert caught.value.details["file"] == file


def test_token_that_stands_twice_is_refused():
    with pytest.raises(DuplicateKey, match=r"vocab\.json"):
        read_vocabulary({"vocab.json": b'{"a": 0, "a": 1}'})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NEARLY = {
    "tokenizer.json": st.fixed_dictionaries(
        {}, optional={"model": JSON | st.fixed_dictionaries({"vocab": JSON}), "added_tokens": JSON | st.lists(JSON)}
    ).map(encoded),
    "tekken.json": st.fixed_dictionaries(
        {
            "config": JSON
            | st.fixed_dictionaries({"default_num_special_tokens": st.integers(), "default_vocab_size": st.integers()}),
            "vocab": JSON | st.lists(st.fixed_dictionaries({"rank": JSON, "token_bytes": JSON})),
        },
        optional={"special_tokens": JSON | st.lists(st.fixed_dictionaries({"rank": JSON, "token_str": JSON}))},
    ).map(encoded),
    "vocab.json": JSON.map(encoded),
    "tokenizer_config.json": st.fixed_dictionaries({"added_tokens_decoder": JSON}).map(encoded),
}


@given(st.data(), st.sampled_from([*TOKENIZER_FILES, *ADDED_FILES]))
def test_any_bytes_give_a_vocabulary_or_a_refusal(data, file):
    nearly = NEARLY.get(file, st.lists(st.binary(max_size=8).map(lambda inner: field(1, inner))).map(b"".join))
    raw = data.draw(st.binary() | nearly | st.tuples(nearly, st.binary()).map(b"".join))
    try:
        vocabulary = read_vocabulary({"vocab.txt": b"a\nb", file: raw})
    except (TokenizerMalformed, DuplicateKey) as error:
        json.dumps(error.as_record(), ensure_ascii=False).encode()
    else:
        assert all(type(id_) is int and 0 <= id_ < 2**32 for id_ in vocabulary)
        assert all(type(token) is str for token in vocabulary.values())


@given(st.data())
def test_truncated_and_altered_sentencepieces_give_a_vocabulary_or_a_refusal(data):
    raw = bytearray(sentencepiece(["<unk>", "▁the", "x" * 200]))
    del raw[data.draw(st.integers(0, len(raw))) :]
    for place in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=3)) if raw else ():
        raw[place] = data.draw(st.integers(0, 255))
    try:
        assert read_vocabulary({"tokenizer.model": bytes(raw)})
    except TokenizerMalformed as error:
        json.dumps(error.as_record(), ensure_ascii=False).encode()


VOCABULARIES = st.dictionaries(st.integers(0, 5), st.text("ab", max_size=1))


@given(VOCABULARIES, VOCABULARIES)
def test_conflicts_are_the_shared_ids_of_two_tokens_in_order(base, instruct):
    expected = [
        TokenConflict(id_, base[id_], instruct[id_])
        for id_ in range(6)
        if id_ in base and id_ in instruct and base[id_] != instruct[id_]
    ]
    assert conflicts(base, instruct) == expected
    assert conflicts(base, base) == []


def test_description_names_the_first_five_and_the_count():
    base, instruct = ({id_: f"{side}{id_}" for id_ in range(20, 0, -1)} for side in "bi")
    text = describe(conflicts(base, instruct))
    assert text.startswith("20 id(s) mean two tokens: id 1 is 'b1' in the base and 'i1' in the instruct; id 2 is ")
    assert "'b5'" in text
    assert "'b6'" not in text
    assert text.endswith("; and 15 more")


def test_description_of_one_conflict_counts_no_more():
    assert "more" not in describe([TokenConflict(7, "<|reserved_7|>", "<|im_start|>")])


def test_tokens_that_utf8_cannot_carry_are_shown_in_words_that_can_be_sent():
    base = read_vocabulary({"vocab.json": rb'{"\ud800": 0}'})
    found = conflicts(base, read_vocabulary({"vocab.txt": b"\x1b[31m" + b"a" * 10_000}))
    sent = json.dumps([describe(found), found[0].as_record()], ensure_ascii=False).encode()
    assert len(sent) < 2000
    assert b"\x1b" not in describe(found).encode()
    assert found[0].as_record()["id"] == "0"
