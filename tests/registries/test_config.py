"""Names mean what the configuration says, and a name it does not have is refused with those it has."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from crossfade_core.errors import PathOutsideRoot, SourceNotFound, UnknownDestination, UnknownRoot
from crossfade_core.job import JobId
from crossfade_core.spec import MergeSpec
from crossfade_registries.config import Registries
from crossfade_registries.settings import LocalDestination, RegistrySettings
from tests.registries.staging import FILES, JOB, content, publish


@pytest.fixture
def registries(tmp_path: Path) -> Registries:
    for folder in ("models/a", "other/b", "out", "archive"):
        (tmp_path / folder).mkdir(parents=True)
    destinations = {name: LocalDestination(path=tmp_path / name) for name in ("out", "archive")}
    roots = {"models": tmp_path / "models", "other": tmp_path / "other"}
    return Registries(RegistrySettings(roots=roots, destinations=destinations))


def spec(**fields) -> MergeSpec:
    sides = {"base": "local://models/a", "instruct": "local://other/b"}
    return MergeSpec.model_validate({**sides, "lambdas": [0.5], "destination": "out", **fields})


def test_source_is_opened_below_the_root_it_names(registries):
    for uri in ("local://models/a", "local://other/b"):
        source = registries.open_source(uri)
        assert source.uri == uri
        assert source.files() == {}


@pytest.mark.parametrize(("uri", "error"), [("local://models/b", SourceNotFound), ("local://models/..", ValueError)])
def test_source_is_looked_for_below_no_other_root(registries, uri, error):
    with pytest.raises(error):
        registries.open_source(uri)


def test_link_from_one_root_into_another_is_refused(registries, tmp_path):
    (tmp_path / "models/link").symlink_to(tmp_path / "other/b")
    with pytest.raises(PathOutsideRoot):
        registries.open_source("local://models/link")


def test_unknown_root_is_refused_with_the_known_ones(registries):
    with pytest.raises(UnknownRoot, match="has no root 'secret'; it has models, other") as caught:
        registries.open_source("local://secret/a")
    assert caught.value.details == {"root": "secret", "source": "local://secret/a"}


def test_unknown_destination_is_refused_with_the_known_ones(registries):
    with pytest.raises(UnknownDestination, match="has no destination 'attic'; it has archive, out") as caught:
        registries.open_sink(spec(destination="attic"), JOB)
    assert caught.value.details == {"destination": "attic"}


def test_server_without_any_says_none():
    with pytest.raises(UnknownRoot, match="it has none"):
        Registries(RegistrySettings()).open_source("local://models/a")


def test_sink_publishes_into_the_destination_of_the_spec_and_overwrites_only_when_told(registries, tmp_path):
    publish(registries.open_sink(spec(destination="archive"), JOB), "tuned")
    changed = {**FILES, "config.json": b"changed"}
    publish(registries.open_sink(spec(destination="archive", overwrite=True), JobId("job-2")), "tuned", changed)
    assert content(tmp_path / "archive/tuned") == FILES | changed
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "destination", [{}, {"path": "relative"}, {"path": "/srv", "kind": "ftp"}, {"path": "/srv", "mode": "0777"}]
)
def test_destination_that_makes_no_sense_is_refused(destination):
    with pytest.raises(ValidationError):
        LocalDestination.model_validate(destination)
