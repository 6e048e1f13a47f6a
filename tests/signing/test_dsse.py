"""Our envelopes are what other DSSE libraries verify, and theirs what we do; anything else is a named error."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from crossfade_core.errors import CheckpointError, DuplicateKey, SignatureInvalid, SignatureMalformed
from crossfade_signing import dsse
from crossfade_signing.key_pairs import read_private_key_file

TYPE = "application/vnd.in-toto+json"
PAYLOAD = b'{"_type": "https://in-toto.io/Statement/v1"}'


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_securesystemslib_verifies_our_envelope(pair, new_pair):
    envelope = Envelope.from_dict(json.loads(dsse.sign(PAYLOAD, TYPE, pair.signer)))
    ours, another = (
        SSlibKey(pair.public.key_id, "ecdsa", "ecdsa-sha2-nistp256", {"public": of.public_file.read_text()})
        for of in (pair, new_pair("another"))
    )
    assert envelope.verify([ours], 1) == {pair.public.key_id: ours}
    assert (envelope.payload, envelope.payload_type) == (PAYLOAD, TYPE)
    with pytest.raises(Exception, match="do not match threshold"):
        envelope.verify([another], 1)


@pytest.mark.parametrize("key_id", ["theirs", "", "f00d"])
def test_envelope_of_securesystemslib_is_verified_whatever_it_calls_its_key(pair, new_pair, key_id):
    envelope = Envelope(PAYLOAD, TYPE, {})
    envelope.sign(CryptoSigner(read_private_key_file(pair.private_file)))
    theirs = envelope.to_dict()
    theirs["signatures"][0]["keyid"] = key_id
    signed = dsse.verify(json.dumps(theirs).encode(), TYPE, [new_pair("another").public, pair.public])
    assert (signed.payload, signed.key_id) == (PAYLOAD, pair.public.key_id)


def test_one_payload_has_one_envelope_on_one_line(pair):
    envelope = dsse.sign(PAYLOAD, TYPE, pair.signer)
    assert envelope == dsse.sign(PAYLOAD, TYPE, pair.signer)
    assert envelope.endswith(b"\n")
    assert envelope.count(b"\n") == 1


def test_without_keys_nothing_is_said_to_be_verified(pair):
    signed = dsse.verify(dsse.sign(PAYLOAD, TYPE, pair.signer), TYPE, [])
    assert (signed.key_id, signed.claimed_key_ids) == (None, (pair.public.key_id,))


def test_signature_by_another_key_names_both(pair, new_pair):
    other = new_pair("other")
    with pytest.raises(SignatureInvalid) as caught:
        dsse.verify(dsse.sign(PAYLOAD, TYPE, other.signer), TYPE, [pair.public], "some.jsonl")
    assert caught.value.details == {
        "file": "some.jsonl",
        "expected": [pair.public.key_id],
        "found": [other.public.key_id],
    }


@pytest.mark.parametrize("field", ["payload", "payloadType", "sig"])
def test_what_was_changed_since_is_not_verified(pair, field):
    envelope = json.loads(dsse.sign(PAYLOAD, TYPE, pair.signer))
    if field == "payloadType":
        envelope[field] += "x"
    else:
        holder = envelope["signatures"][0] if field == "sig" else envelope
        content = base64.b64decode(holder[field])
        holder[field] = encoded(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SignatureMalformed if field == "payloadType" else SignatureInvalid):
        dsse.verify(json.dumps(envelope).encode(), TYPE, [pair.public])


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": None},
        {"payload": "a"},
        {"payload": "YWJj\n"},
        {"payload": "-_-"},
        {"payload": "é"},
        {"payloadType": 7},
        {"payloadType": None},
        {"payloadType": "\ud800"},
        {"signatures": []},
        {"signatures": {}},
        {"signatures": [7]},
        {"signatures": [{"keyid": 7, "sig": "YWJj"}]},
        {"signatures": [{"keyid": "\x1b[2J", "sig": "YWJj"}]},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": [{"keyid": "x", "sig": "*"}]},
        {"signatures": [{"sig": "YWJj"}] * 17},
    ],
)
def test_every_malformed_envelope_is_a_named_error(pair, changes):
    envelope = {**json.loads(dsse.sign(PAYLOAD, TYPE, pair.signer)), **changes}
    for keys in ([], [pair.public]):
        with pytest.raises(SignatureMalformed, match=r"some\.jsonl"):
            dsse.verify(json.dumps(envelope).encode(), TYPE, keys, "some.jsonl")


def test_base64_of_either_alphabet_is_taken(pair):
    envelope = json.loads(dsse.sign(b"\xfb\xff\xfe?>", TYPE, pair.signer))
    as_urls = {"payload": envelope["payload"].translate(str.maketrans("+/", "-_"))}
    assert as_urls["payload"] != envelope["payload"]
    sig = envelope["signatures"][0]["sig"].translate(str.maketrans("+/", "-_"))
    theirs = json.dumps({**envelope, **as_urls, "signatures": [{"keyid": "x", "sig": sig}]})
    assert dsse.verify(theirs.encode(), TYPE, [pair.public]).payload == b"\xfb\xff\xfe?>"


def test_envelope_of_another_type_is_refused_whoever_signed_it(pair):
    with pytest.raises(SignatureMalformed, match=re.escape(f"payloadType {TYPE} expected, found 'text/other'")):
        dsse.verify(dsse.sign(PAYLOAD, "text/other", pair.signer), TYPE, [pair.public])


def test_key_that_stands_twice_is_refused(pair):
    envelope = dsse.sign(PAYLOAD, TYPE, pair.signer).decode()
    with pytest.raises(DuplicateKey):
        dsse.verify(envelope.replace("{", '{"payload":"YWJj",', 1).encode(), TYPE, [pair.public])


def test_too_large_an_envelope_is_refused_unread(pair, monkeypatch):
    monkeypatch.setattr(dsse, "MAX_ENVELOPE_BYTES", 10)
    with pytest.raises(SignatureMalformed, match="over 10 bytes"):
        dsse.verify(dsse.sign(PAYLOAD, TYPE, pair.signer), TYPE, [pair.public])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures"]), inner)
        ),
    )
)
def test_no_json_whatever_is_another_error(document):
    with pytest.raises(CheckpointError):
        dsse.verify(json.dumps(document).encode(), TYPE, [])
