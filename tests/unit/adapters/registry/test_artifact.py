"""A baseline as an artifact: what is written is read back, and what is none is refused."""

import json
from typing import Any

import pytest

from intact.adapters.registry.artifact import (
    BASELINE_TYPE,
    OCI_MANIFEST,
    Referrer,
    decode_artifact,
    decode_index,
    encode_artifact,
    encode_index,
)
from intact.adapters.registry.referrers import referrers_tag
from intact.ingest.ports import Descriptor
from intact.model.digest import Digest
from intact.model.errors import InputError

SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"image"), size_bytes=5)
BLOB = Descriptor(media_type=BASELINE_TYPE, digest=Digest.of(b"baseline"), size_bytes=8)


def test_what_is_written_is_read_back() -> None:
    artifact = decode_artifact(encode_artifact(SUBJECT, BLOB, {"a": "b"}))
    assert (artifact.subject, artifact.blob) == (SUBJECT, BLOB)
    assert decode_index(encode_index([{"digest": "x"}])) == [{"digest": "x"}]


@pytest.mark.parametrize(
    "change",
    [
        {"layers": []},
        {"layers": [{}, {}]},
        {"layers": 5},
        {"subject": None},
        {"subject": {"mediaType": "x", "digest": "sha256:0", "size": 1}},
        {"artifactType": "application/vnd.example"},
        {"layers": [{"mediaType": BASELINE_TYPE, "digest": str(BLOB.digest), "size": 1 << 40}]},
        {"layers": [{"mediaType": BASELINE_TYPE, "digest": str(BLOB.digest), "size": -1}]},
        {"layers": [{"mediaType": "application/octet-stream", "digest": str(BLOB.digest), "size": 8}]},
    ],
)
def test_what_is_no_baseline_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(encode_artifact(SUBJECT, BLOB, {})) | change
    with pytest.raises(InputError):
        decode_artifact(json.dumps(document).encode())


def test_the_tag_of_a_digest() -> None:
    assert referrers_tag(Digest.of(b"image")) == f"sha256-{Digest.of(b'image').hex}"
    assert len(referrers_tag(Digest.of(b"image", "sha512"))) == 7 + 64


@pytest.mark.parametrize(
    ("created", "at"), [("1970-01-01T00:01:00Z", 60.0), ("1970-01-01T01:01:00+01:00", 60.0), ("", 0.0), ("yesterday", 0.0)]
)
def test_an_age_that_is_none_is_the_oldest(created: str, at: float) -> None:
    annotations = {"org.opencontainers.image.created": created}
    assert Referrer(descriptor=SUBJECT, artifact_type="", annotations=annotations).created_at == at
