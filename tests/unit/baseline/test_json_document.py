"""The JSON document: what the documentation has is what is written, and nothing else is read."""

import base64
import json
from typing import Any

import pytest

from intact.baseline.document import load_document
from intact.baseline.formats.document import export_document, make_schema, read_document
from intact.baseline.signing import PublicKey
from intact.model.errors import InputError, TrustError
from intact.model.layer import Grade
from tests.unit.baseline.vectors import DIRECTORY, KEY, make_baseline


def write() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(b"".join(export_document(make_baseline())))
    return document


def read(document: dict[str, Any]) -> Any:
    return read_document(json.dumps(document).encode())


def test_the_schema_is_the_documented_one() -> None:
    assert (DIRECTORY.parent / "json.schema.json").read_bytes() == make_schema()


def test_whiteouts_opaque_directories_devices_and_attributes_come_back() -> None:
    original = make_baseline()
    again, envelope = read_document(b"".join(export_document(original)))
    assert envelope is None
    assert again.grade is Grade.SUPPLIED
    assert again.root == original.root
    assert [list(layer.scan()) for layer in again.layers] == [list(layer.scan()) for layer in original.layers]


def test_a_document_with_its_envelope_is_believed_as_far_as_its_signature() -> None:
    from intact.baseline.document import encode_document, join_document, split_document

    file = encode_document(make_baseline(), [KEY])
    envelope, _ = split_document(memoryview(file))
    read_again, unverified = read_document(b"".join(export_document(make_baseline(), envelope)))
    assert unverified is not None
    assert join_document(unverified, read_again.layers) == file
    assert load_document(file, trusted=[PublicKey(KEY.key.public_key())]).grade is Grade.SIGNED


def change(document: dict[str, Any], *where: str | int, to: object) -> dict[str, Any]:
    at: Any = document
    for step in where[:-1]:
        at = at[step]
    at[where[-1]] = to
    return document


@pytest.mark.parametrize(
    ("where", "value", "error"),
    [
        (("format",), "https://intact.dev/baseline-json/v2", InputError),
        (("key",), "sha256:00", InputError),
        (("key",), "sha256:" + "0" * 64, TrustError),
        (("root",), "sha256:" + "0" * 64, TrustError),
        (("more",), 1, InputError),
        (("layers", 0, "form"), "ROUND", InputError),
        (("layers", 0, "form"), "BASE", TrustError),
        (("layers", 0, "tableRoot"), "sha256:" + "0" * 64, TrustError),
        (("layers", 0, "records"), [], InputError),
        (("layers", 0, "records", 1, "mode"), "9999", InputError),
        (("layers", 0, "records", 1, "mode"), "0700", TrustError),
        (("layers", 0, "records", 1, "path"), "/../x", InputError),
        (("layers", 0, "records", 1, "pathBase64"), "Lw==", InputError),
        (("layers", 0, "records", 1, "kind"), "door", InputError),
        (("layers", 0, "records", 5, "gid"), 1 << 32, InputError),
        (("layers", 0, "records", 6, "digests"), ["md4:00"], InputError),
        (("layers", 0, "records", 6, "digests"), ["sha256:" + "0" * 64], TrustError),
        (("layers", 0, "records", 6, "xattrs", 0, "valueBase64"), "!", InputError),
        (("stated",), {"aspects": ["taste"], "kinds": ["file"], "below": ["/"]}, InputError),
        (("stated",), {"aspects": ["content"], "kinds": ["file"], "below": []}, InputError),
        (("stated",), {"aspects": ["content"], "kinds": ["file"], "below": ["/"]}, TrustError),
    ],
    ids=str,
)
def test_what_was_changed_by_hand_is_refused(where: tuple[str | int, ...], value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(change(write(), *where, to=value))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"format":"x"}'])
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(InputError, match="not a baseline in JSON"):
        read_document(text)


def test_a_name_that_is_no_text_is_base64() -> None:
    records = write()["layers"][0]["records"]
    assert base64.b64decode(records[-1]["pathBase64"]) == b"/\xff\n"
