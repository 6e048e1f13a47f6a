"""A source URI names one place, in one canonical form, and never climbs out of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.source_ref import HubRef, LocalRef, S3Ref, parse_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("uri", "ref"),
    [
        ("local://models/a/b", LocalRef("models", "a/b")),
        ("s3://weights/llama/8b", S3Ref("weights", "llama/8b")),
        ("s3://weights/llama/8b/", S3Ref("weights", "llama/8b")),
        ("hf://meta-llama/Llama-3.1-8B", HubRef("meta-llama/Llama-3.1-8B", "main")),
        ("hf://gpt2@v1.0", HubRef("gpt2", "v1.0")),
        ("hf://org/name@refs/pr/1", HubRef("org/name", "refs/pr/1")),
        (f"hf://org/name@{COMMIT}", HubRef("org/name", COMMIT)),
    ],
)
def test_uri_names_its_place(uri, ref):
    assert parse_source(uri) == ref
    assert parse_source(ref.uri) == ref


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models/a",
        "file:///etc/passwd",
        "http://host/x",
        "local://models",
        "local://models/../x",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/../b",
        "s3://bucket//a",
        "s3://user:secret@bucket/a",
        "s3://bucket/a\\b",
        "hf://",
        "hf://a/b/c",
        "hf://org/..",
        "hf://../org",
        "hf://org/na--me",
        "hf://org/name.git",
        "hf://org/name@",
        "hf://org/name@../../other/repo",
        "hf://org/name@a//b",
        "hf://org/name@-x",
        "hf://org/name@main?x=1",
        "hf://org/name@main#x",
        "hf://org/name/resolve/main",
        "hf://org/na me",
        "hf://org/name@main\n",
        "hf://" + "a" * 97,
        "s3://bucket/" + "a" * 1025,
    ],
)
def test_anything_else_is_refused_with_the_forms(uri):
    with pytest.raises(ValueError, match=r"hf://ORG/NAME@REVISION|plain names"):
        parse_source(uri)


@pytest.mark.parametrize(
    ("uri", "name", "title"),
    [
        ("local://models/a/tuned", "tuned", "tuned"),
        ("s3://weights/llama/8b", "8b", "8b"),
        ("hf://org/name@main", "name", "org/name"),
        ("hf://gpt2@main", "gpt2", "gpt2"),
    ],
)
def test_model_is_called_by_its_last_name_and_on_the_hub_by_its_id(uri, name, title):
    assert (parse_source(uri).name, parse_source(uri).title) == (name, title)


def test_only_a_whole_commit_is_one():
    assert HubRef("a/b", COMMIT).is_commit
    assert not HubRef("a/b", COMMIT[:7]).is_commit
    assert not HubRef("a/b", COMMIT.upper()).is_commit


@given(st.text(max_size=60))
def test_no_text_after_a_scheme_leads_out_of_its_place(text):
    for scheme in ("local://root/", "s3://bucket/", "hf://"):
        try:
            ref = parse_source(scheme + text)
        except ValueError:
            continue
        assert parse_source(ref.uri) == ref
        path = ref.repo + "/" + ref.revision if isinstance(ref, HubRef) else ref.uri.split("://")[1]
        assert not {"", ".", ".."} & set(path.split("/"))
