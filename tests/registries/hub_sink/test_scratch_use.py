"""Local disk holds what is under way, never a whole output."""

import pytest
from huggingface_hub import constants

from crossfade_core.errors import ScratchTooSmall, SinkDenied, SinkUnavailable
from tests.fakes.http_faults import Status
from tests.fakes.hub import Hub
from tests.registries.hub_sink.publishing import IGNORED, NAMESPACE, TOKEN, held, open_sink
from tests.registries.staging import DISK_BYTES, publish

pytestmark = pytest.mark.filterwarnings(IGNORED)

SHARD_BYTES = DISK_BYTES // 2


def test_output_larger_than_scratch_passes_through_it(any_hub, small_disk):
    files = {f"model-{number}.safetensors": bytes([number]) * SHARD_BYTES for number in range(5)}
    sink = open_sink(any_hub, small_disk)
    sink.check_room(SHARD_BYTES, 1)
    publish(sink, "tuned", files)
    assert held(any_hub) == files


def test_room_of_files_that_were_abandoned_or_did_not_go_up_is_given_back(hub, small_disk):
    sink = open_sink(hub, small_disk)
    hub.fail(Status(418), path_contains="/batch", times=None)
    for number in range(5):
        writer = sink.create_file("tuned", f"model-{number}.safetensors", SHARD_BYTES)
        writer.write(memoryview(bytes(SHARD_BYTES)))
        if number % 2:
            with pytest.raises(Exception, match="418"):
                writer.finish("0" * 64)
        writer.abandon()


def test_unit_that_needs_more_than_scratch_has_is_refused_early_and_when_it_writes(hub, small_disk):
    sink = open_sink(hub, small_disk)
    with pytest.raises(ScratchTooSmall):
        sink.check_room(SHARD_BYTES, 1000)
    with pytest.raises(SinkUnavailable, match="make room"):
        sink.create_file("tuned", "model.safetensors", 2 * DISK_BYTES)
    assert hub.requests == []


def test_storage_that_gives_this_account_no_token_is_named(tmp_path, scratch, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with Hub(tmp_path / "hub", xet_dir=tmp_path / "xet") as hub:
        hub.add_token(TOKEN, "publisher", write=[NAMESPACE])
        hub.fail(Status(403), path_contains="xet-write-token", times=None)
        with pytest.raises(SinkDenied, match=r"model\.safetensors: the storage refused") as caught:
            publish(open_sink(hub, scratch), "tuned", {"model.safetensors": b"w" * 5000})
        assert TOKEN not in str(caught.value.as_record())
