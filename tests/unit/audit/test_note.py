"""Signed notes are the ones other transparency tools read."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intact.audit.note import Checkpoint, NoteKey, open_checkpoint, sign_checkpoint
from intact.model.errors import InputError, TrustError
from intact.model.merkle import EMPTY_ROOT

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = NoteKey(name="example.com/log", public=PRIVATE.public_key().public_bytes_raw())
CHECKPOINT = Checkpoint(origin="example.com/log", size=7, root=EMPTY_ROOT)
NOTE = sign_checkpoint(CHECKPOINT, KEY, PRIVATE)

GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
"""The key of golang.org/x/mod/sumdb/note's documentation, in other hands than ours."""


def test_key_ids_are_those_of_other_tools() -> None:
    assert str(NoteKey.parse(GO_VKEY)) == GO_VKEY


def test_a_note_of_another_tool_is_split_and_its_signature_verifies() -> None:
    text = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    with pytest.raises(TrustError, match="not a checkpoint"):  # the signature held: what it covers is no checkpoint
        open_checkpoint(text.encode(), [NoteKey.parse(GO_VKEY)])
    with pytest.raises(TrustError, match="does not verify"):
        open_checkpoint(text.replace("answer", "Answer").encode(), [NoteKey.parse(GO_VKEY)])


def test_a_checkpoint_opens_with_its_key_by_either_form() -> None:
    pem = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (str(KEY), f"{KEY}\n", pem):
        assert open_checkpoint(NOTE, [NoteKey.parse(text)]) == (CHECKPOINT, KEY)


@pytest.mark.parametrize("position", range(0, len(NOTE), 3))
def test_every_changed_byte_of_a_checkpoint_is_refused(position: int) -> None:
    for bit in (1, 32):
        changed = bytearray(NOTE)
        changed[position] ^= bit
        with pytest.raises(TrustError):
            open_checkpoint(bytes(changed), [KEY])


def test_signatures_of_others_neither_help_nor_harm() -> None:
    stranger = b"\xe2\x80\x94 witness.example " + base64.b64encode(b"1234" + bytes(64)) + b"\n"
    assert open_checkpoint(NOTE + stranger, [KEY])[0] == CHECKPOINT
    with pytest.raises(TrustError, match="by no key that is trusted"):
        open_checkpoint(NOTE, [NoteKey(name="example.com/log", public=bytes(32))])


def test_a_log_cannot_speak_for_another() -> None:
    note = sign_checkpoint(Checkpoint(origin="other.example/log", size=1, root=EMPTY_ROOT), KEY, PRIVATE)
    with pytest.raises(TrustError, match="is signed by"):
        open_checkpoint(note, [KEY])


@pytest.mark.parametrize(
    "text", ["", "name", "a b+00000000+AA==", GO_VKEY.replace("c74f", "c74e"), GO_VKEY[:-2], "-----BEGIN PUBLIC KEY-----\nAA\n"]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        NoteKey.parse(text)
