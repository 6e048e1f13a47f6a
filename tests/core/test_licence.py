"""Which licence an output's card states: what all sources state, and never what one of them does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.licence import HUB_LICENCES, SEE_SOURCES, UNKNOWN, Licence, output_licence

HUB = {"base": f"hf://acme/base@{'a' * 40}", "instruct": f"hf://acme/tuned@{'b' * 40}"}
MIT = Licence("mit")
QWEN = Licence("other", "Qwen License", "LICENSE")


def licence_of(base, instruct, sources=HUB):
    stated = {"base": base, "instruct": instruct}
    return output_licence(sources, {role: each and each.as_record() for role, each in stated.items()})


@pytest.mark.parametrize(
    ("base", "instruct", "stated"),
    [
        (MIT, MIT, MIT),
        (Licence("MIT"), MIT, MIT),
        (Licence("llama3.1", None, "LICENSE"), Licence("llama3.1"), Licence("llama3.1")),
        (MIT, Licence("apache-2.0"), SEE_SOURCES),
        (MIT, None, SEE_SOURCES),
        (None, MIT, SEE_SOURCES),
        (Licence("unknown"), MIT, SEE_SOURCES),
        (None, None, UNKNOWN),
        (Licence("unknown"), None, UNKNOWN),
        (Licence("other"), Licence("other"), SEE_SOURCES),
        (Licence("other", "mit"), MIT, SEE_SOURCES),
        (Licence("gpl-2.0-or-later"), Licence("GPL-2.0-or-later"), Licence("other", "gpl-2.0-or-later")),
        (Licence("mit, apache-2.0"), Licence("mit, apache-2.0"), Licence("other", "mit-apache-2.0")),
        (Licence("許諾"), Licence("許諾"), SEE_SOURCES),
        (QWEN, QWEN, Licence("other", "qwen-license", f"https://huggingface.co/acme/base/blob/{'a' * 40}/LICENSE")),
        (
            Licence("other", "n"),
            Licence("other", "N", "https://a.example/b"),
            Licence("other", "n", "https://a.example/b"),
        ),
        (Licence("other", "n", "../LICENSE"), Licence("other", "n", "javascript:x"), Licence("other", "n")),
    ],
)
def test_licence_is_what_all_sources_state(base, instruct, stated):
    assert licence_of(base, instruct) == stated


def test_file_that_a_folder_links_is_no_link_elsewhere():
    assert licence_of(QWEN, QWEN, {"base": "local://m/a", "instruct": "s3://b/c"}) == Licence("other", "qwen-license")


def test_third_source_counts_as_much_as_the_others():
    sources = {**HUB, "reference": "local://m/old"}
    alike = {role: MIT.as_record() for role in sources}
    assert output_licence(sources, alike) == MIT
    assert output_licence(sources, {**alike, "reference": None}) == SEE_SOURCES


words = st.sampled_from(sorted(HUB_LICENCES)) | st.text(min_size=1, max_size=30)
licences = st.none() | st.builds(Licence, words | st.just("other"), st.none() | words, st.none() | st.text(max_size=60))


@given(licences, licences)
def test_licence_is_one_that_the_hub_takes_and_claims_nothing_new(base, instruct):
    found = licence_of(base, instruct)
    assert found.id in HUB_LICENCES | {"other", "unknown"}
    assert (found.name is not None) == (found.id == "other")
    if found.id in HUB_LICENCES:
        assert base.id.lower() == instruct.id.lower() == found.id


def test_record_reads_back():
    assert Licence.from_record(QWEN.as_record()) == QWEN
