"""What a source's own card states of its licence, read from a folder as any source is; nothing where it states none."""

import time

import pytest

from crossfade_core.errors import SourceDenied, SourceUnavailable
from crossfade_core.licence import Licence
from crossfade_core.ports import FileInfo
from crossfade_registries.licences import MAX_CARD_BYTES, MAX_FRONT_BYTES, read_licence


@pytest.fixture
def licence_of(root, open_model):
    def read(card):
        raw = card if isinstance(card, bytes) else card.encode()
        (root / "model" / "README.md").write_bytes(raw)
        source = open_model()
        return read_licence(source, source.files())

    return read


def front(yaml):
    return f"---\n{yaml}\n---\n# A model\n"


@pytest.mark.parametrize(
    ("yaml", "stated"),
    [
        ("license: apache-2.0", Licence("apache-2.0")),
        ("language:\n- en\nlicense: mit\ntags: [a, b]", Licence("mit")),
        ("license: 'mit'  # as ever", Licence("mit")),
        (
            'license: other\nlicense_name: "qwen"\nlicense_link: https://h.example/LICENSE',
            Licence("other", "qwen", "https://h.example/LICENSE"),
        ),
        ("license: llama3.1\nlicense_link: LICENSE", Licence("llama3.1", None, "LICENSE")),
        ("license:\n- mit\n- apache-2.0", Licence("mit, apache-2.0")),
        ("license: [gemma]", Licence("gemma")),
        ('license: "null"', Licence("null")),
        ("{license: mit}", Licence("mit")),
        ("model-index:\n- results:\n  - license: mit\nlicense: cc", Licence("cc")),
        ("a: !!python/object/apply:os.system ['true']\nlicense: mit", Licence("mit")),
    ],
)
def test_front_matter_is_read_as_the_hub_reads_it(licence_of, yaml, stated):
    assert licence_of(front(yaml)) == stated


def test_byte_order_mark_and_other_line_ends_are_no_part_of_it(licence_of):
    assert licence_of("\ufeff---\r\nlicense: mit\r\n---\r\nA model") == Licence("mit")
    assert licence_of("\n\n---\nlicense: mit\n--- \t") == Licence("mit")


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# A model\nlicense: mit\n",
        "text\n---\nlicense: mit\n---\n",
        "---\nlicense: mit\n",
        front(""),
        front("license:"),
        front("license: ~"),
        front("license: {a: b}"),
        front("license: [[mit]]"),
        front("license: mit\nlicense: gpl-3.0"),
        front("tags: &a [x]\nmore: *a\nlicense: mit"),
        front("license: &l mit\nlicense_name: *l"),
        front("- license: mit"),
        front("license: mit\n\tx: ["),
        front('license: "m\\u202eit"'),
        front("license: " + "m" * 201),
        front("license: [" + ", ".join("abcdefghi") + "]"),
        front("license: mit\nlicense_name: |\n  two\n  lines"),
    ],
)
def test_card_that_states_nothing_that_can_be_read_states_nothing(licence_of, card):
    assert licence_of(card) is None


def test_card_that_is_not_text_states_nothing(licence_of):
    assert licence_of(b"---\nlicense: \xff\xfe\n---\n") is None
    assert licence_of(b"---\nlicense: mit\n---\n\xff\xfe") == Licence("mit")


def test_folder_without_a_card_states_nothing(open_model):
    source = open_model()
    assert read_licence(source, source.files()) is None


@pytest.mark.parametrize("link", ['"java\\u200bscript:x"', '"' + "x" * 2001 + '"', "[a, b]"])
def test_link_that_is_none_is_left_out(licence_of, link):
    assert licence_of(front(f"license: other\nlicense_name: n\nlicense_link: {link}")) == Licence("other", "n")


def test_front_matter_beyond_the_limit_is_not_read(licence_of):
    assert licence_of(front("license: mit\n#" + "x" * (MAX_FRONT_BYTES - 40))) == Licence("mit")
    assert licence_of(front("license: mit\n#" + "x" * MAX_FRONT_BYTES)) is None


@pytest.mark.parametrize("piece", ["[", "{", "- ", "? ", "a: {b: ", "&a [*a, ", "!t ", "'", '"', "|\n ", "x: y\n"])
def test_hostile_front_matter_costs_no_more_than_seconds(licence_of, piece):
    begin = time.thread_time()
    licence_of(front("a: " + piece * (MAX_FRONT_BYTES // len(piece) - 8)))
    assert time.thread_time() - begin < 10


class Card:
    """A source that has a card, of which it tells what was asked for, or raises."""

    uri = "local://m/model"

    def __init__(self, failure=None):
        self.failure, self.read = failure, []

    def read_into(self, file, offset, buffer):
        self.read.append((file, offset, len(buffer)))
        if self.failure:
            raise self.failure
        buffer[:] = front("license: mit").encode().ljust(len(buffer))


def card_of(size_bytes):
    return {"README.md": FileInfo("README.md", size_bytes, "v1")}


def test_no_more_than_the_beginning_of_a_long_card_is_read():
    source = Card()
    assert read_licence(source, card_of(50_000_000)) == Licence("mit")
    assert source.read == [("README.md", 0, MAX_CARD_BYTES)]


def test_card_that_may_not_be_read_states_nothing_and_one_that_cannot_now_is_tried_again():
    assert read_licence(Card(SourceDenied("no")), card_of(100)) is None
    with pytest.raises(SourceUnavailable):
        read_licence(Card(SourceUnavailable("away")), card_of(100))
