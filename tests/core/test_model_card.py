"""The card: front matter that the Hub's own library reads, truth about signature and licence, words that stay words."""

import re
from html.parser import HTMLParser

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from crossfade_core.licence import HUB_LICENCES
from crossfade_core.lineage import CHAIN_FORMULA
from crossfade_core.model_card import CardFacts, model_card
from tests.core.output_facts import CHAIN, ON_THE_HUB, OUTPUTS, PINNED, lineage, spec

KEY = "c" * 64
SWEEP = ((0.0, 0.0, 0.0), (0.1, 0.0268, 0.0013), (1.0, None, None))
MIT = {"id": "mit", "name": None, "link": None}


def card(asked=None, *, key_id=None, sweep=SWEEP, **changes):
    return model_card(lineage(asked, **changes), CardFacts(sweep, key_id)).decode()


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def rendered(text):
    """Render as CommonMark with tables; HTML is let through, as the Hub lets it."""
    body = text.split("---\n", 2)[2]
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(body)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def tags(text):
    parser = Tags()
    parser.feed(rendered(text))
    return parser


def test_front_matter_is_read_by_the_hubs_own_library(tmp_path):
    (tmp_path / "README.md").write_text(card(spec(**ON_THE_HUB), sources=PINNED))
    loaded = ModelCard.load(tmp_path / "README.md")
    assert (
        metadata_load(tmp_path / "README.md")
        == loaded.data.to_dict()
        == {
            "base_model": ["acme/base", "acme/tuned"],
            "base_model_relation": "merge",
            "library_name": "transformers",
            "license": "unknown",
            "tags": ["merge", "crossfade", "partial-adaptation"],
        }
    )
    assert loaded.text.startswith("\n# acme/tuned at λ = 0.1\n")


def test_base_models_are_both_by_their_id_on_the_hub_or_the_name_of_their_folder():
    mixed = {"base": PINNED["base"], "instruct": "local://m/my tuned (v2)"}
    assert front_matter(card(spec(**mixed)))["base_model"] == ["acme/base", "my-tuned-v2"]
    nameless = {"base": "local://m/模型", "instruct": "s3://b/__"}
    assert front_matter(card(spec(**nameless)))["base_model"] == ["model"]
    same = {"base": "hf://acme/base@main", "instruct": "hf://acme/base@v2"}
    assert front_matter(card(spec(**same)))["base_model"] == ["acme/base"]


@pytest.mark.parametrize(
    ("licences", "stated", "words"),
    [
        ({"base": MIT, "instruct": MIT}, {"license": "mit"}, "All sources state the same licence"),
        (
            {"base": MIT, "instruct": None},
            {"license": "other", "license_name": "see-sources"},
            "The sources do not all state the same licence",
        ),
        ({}, {"license": "unknown"}, "No source states a licence"),
        (
            {role: {"id": "other", "name": "N", "link": "https://a.example/b"} for role in ("base", "instruct")},
            {"license": "other", "license_name": "n", "license_link": "https://a.example/b"},
            "All sources state the same licence",
        ),
    ],
)
def test_licence_is_stated_by_the_rule_and_the_rule_in_words(licences, stated, words):
    text = card(licences=licences)
    found = {name: value for name, value in front_matter(text).items() if name.startswith("license")}
    assert found == stated
    assert found["license"] in HUB_LICENCES | {"other", "unknown"}
    assert words in text


def test_every_source_stands_with_its_commit_and_its_own_licence():
    text = card(spec(**ON_THE_HUB), sources=PINNED, licences={"base": MIT, "instruct": None})
    assert f"| base | `{PINNED['base']}` | mit |\n| instruct | `{PINNED['instruct']}` | none |\n" in text


def test_signed_output_names_its_key_and_how_to_verify_with_either_command():
    text = card(key_id=KEY)
    assert f"SHA-256 is `{KEY}`" in text
    assert "\n    crossfade verify . --key ../crossfade.pub\n" in text
    assert "\n    model_signing verify key . --signature model.sig --public_key ../crossfade.pub\n" in text
    assert "| `model.sig` |" in text
    assert "not signed" not in text


def test_unsigned_output_says_so_and_names_no_file_that_is_not_there():
    text = card(key_id=None)
    assert "**not signed**" in text
    assert "\n    crossfade verify .\n" in text
    assert not any(word in text for word in ("model.sig", "provenance", "--key", "Signed"))


def test_every_file_is_told_of_and_how_to_rebuild_it():
    text = card(spec(**ON_THE_HUB), sources=PINNED)
    assert "\n    crossfade rebuild . --check\n" in text
    assert "\n    crossfade rebuild . --check --root m=FOLDER\n" in card()
    rows = re.findall(r"^\| (.*) \| (.*) \|$", text.split("## Files")[1], re.MULTILINE)[2:]
    assert [files for files, _ in rows] == [
        "`model-00001-of-00002.safetensors`, `model-00002-of-00002.safetensors`",
        "`config.json`, `tokenizer.json`",
        "`model.safetensors.index.json`",
        "`sweep.svg`",
        "`bom.cdx.json`",
        "`mergekit_config.yml`",
        "`lineage.json`",
    ]


def test_many_shards_are_named_by_the_first_and_the_last():
    outputs = {f"model-{number:05d}-of-00009.safetensors": OUTPUTS["config.json"] for number in range(1, 10)}
    assert "| `model-00001-of-00009.safetensors` … `model-00009-of-00009.safetensors` |" in card(outputs=outputs)


def test_sweep_is_a_plot_and_a_table_with_this_output_marked():
    text = card()
    assert "](sweep.svg)\n" in text
    assert "| λ | realised λ̂ | moved |\n| --- | --- | --- |\n| 0.0 | 0.0 | 0.0 |\n" in text
    assert "\n| **0.1** | **0.0268** | **0.0013** |\n| 1.0 | – | – |\n" in text


def test_chain_names_all_three_models_and_their_roles():
    text = card(spec(instruct=CHAIN))
    assert "# base + (chat − old-base) at λ = 0.1\n" in text
    assert CHAIN_FORMULA in text
    assert "| A | `local://m/chat` | none |\n| B | `local://m/old-base` | none |" in text
    assert "| config and tokenizer from | base |" in text
    assert '"skip": ["*embed_tokens*"]' in text
    assert front_matter(text)["tags"] == ["merge", "crossfade", "chat-vector"]


def test_card_tells_the_realised_strength():
    assert "| λ | 0.1 |\n| realised λ̂ | 0.0268 |" in card()


def test_card_tells_the_mean_strength_of_a_schedule_and_of_nothing_else():
    row = "| mean strength by the schedule | 0.05 |"
    assert row in card(spec(schedule=[{"pattern": "*", "factor": 0.5}]), told={"requested": 0.05})
    assert row not in card(told={"requested": 0.05})


def test_card_without_a_realised_strength_claims_none():
    text = card(told={"realised": None, "relative_delta_norm": None}, sweep=[(0.1, None, None)])
    assert "| realised λ̂ | 0" not in text
    assert "None" not in text


def test_card_warns_where_there_is_something_to_warn_of():
    assert "Warning" not in card()
    warned = card(told={"warnings": ["λ = 0.1 was realised as 0.027"]})
    assert "\n**Warning:** λ = 0.1 was realised as 0.027.\n" in warned


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rounding": "stochastic", "seed": 7}, '{"rounding": "stochastic", "seed": 7}'),
        ({"policies": {"one_sided": "copy", "tokens": "refuse"}}, '{"policies": {"one_sided": "copy"}}'),
        ({"schedule": [{"pattern": "*", "factor": 0.5}]}, '{"schedule": [{"pattern": "*", "factor": 0.5}]}'),
    ],
)
def test_card_tells_what_is_not_at_its_default(changes, told):
    assert f"Not at the defaults:\n\n    {told}\n" in card(spec(**changes))
    assert "Not at the defaults" not in card()


@given(st.text(min_size=1, max_size=40) | st.sampled_from(["<img src=x>", "[a](b)", "https://a.b", "a|b`c", "&lt;"]))
def test_words_of_strangers_open_no_markup(words):
    licence = {"id": "other", "name": words, "link": f"https://a.example/{words}"}
    strange = card(
        spec(schedule=[{"pattern": words, "factor": 1}]),
        told={"warnings": [f"most of them in {words}"]},
        licences={"base": licence, "instruct": MIT},
    )
    tame = card(
        spec(schedule=[{"pattern": "x", "factor": 1}]),
        told={"warnings": ["most of them in x"]},
        licences={"base": {**licence, "name": "x", "link": "https://a.example/x"}, "instruct": MIT},
    )
    found, expected = ([(tag, attrs) for tag, attrs in tags(text).found] for text in (strange, tame))
    assert found == expected


@pytest.mark.parametrize("name", ["a|b", "a`b", "*a*", "<script>", "a](b)", "&lt;", "www.a.b", "_a_", "$a$"])
def test_name_of_a_folder_is_shown_as_it_is(name):
    shown = tags(card(spec(base=f"local://m/{name}", instruct=f"local://m/{name}")))
    assert f"{name} at λ = 0.1" in "".join(shown.text)
    assert f"local://m/{name}" in "".join(shown.text)
    assert "script" not in {tag for tag, _ in shown.found}


def test_equal_facts_give_equal_bytes():
    assert card() == card(spec())
