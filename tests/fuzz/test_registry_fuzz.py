"""Bytes of a registry, or of a file of credentials: a value or one of our errors, in bounded time."""

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from intact.adapters.registry.access import RegistryAccess
from intact.adapters.registry.artifact import decode_artifact, decode_index, encode_artifact, read_referrer
from intact.adapters.registry.authorize import read_token
from intact.adapters.registry.challenge import parse_challenges
from intact.adapters.registry.connection import parse_retry_after
from intact.adapters.registry.credentials import find_credentials
from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import IntactError

KEYS = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "manifests",
        "layers",
        "config",
        "subject",
        "digest",
        "size",
        "annotations",
        "artifactType",
        "auths",
        "auth",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)
SOME = Descriptor(media_type="application/vnd.intact.baseline.v1", digest=Digest.of(b""), size_bytes=0)


@given(st.text(max_size=300) | st.lists(st.sampled_from(["Bearer ", 'realm="', '"', ",", "=", "\\", " ", "a"]), max_size=40).map("".join))
def test_any_challenge(text: str) -> None:
    for challenge in parse_challenges([text]):
        assert challenge.scheme == challenge.scheme.lower()
    assert parse_retry_after(text, 0.0) >= 0


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_document_of_a_registry(data: bytes) -> None:
    with suppress(IntactError):
        decode_artifact(data)
    with suppress(IntactError):
        read_token(data, "host")
    with suppress(IntactError):
        for entry in decode_index(data):
            assert read_referrer(entry).created_at is not None


@given(st.data())
def test_a_genuine_artifact_with_any_changed_byte(data: st.DataObject) -> None:
    genuine = bytearray(encode_artifact(SOME, SOME, {"a": "b"}))
    at = data.draw(st.integers(0, len(genuine) - 1))
    genuine[at] ^= data.draw(st.integers(1, 255))
    with suppress(IntactError):
        decode_artifact(bytes(genuine))


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps({"auths": value}).encode()))
def test_any_file_of_credentials(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "auth.json"
        path.write_bytes(data)
        with suppress(IntactError):
            for credential in find_credentials(RegistryAccess(auth_files=(path,)), "r.example", "a/b"):
                assert credential.basic.isprintable()
