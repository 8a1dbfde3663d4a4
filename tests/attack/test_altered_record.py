"""Attack: somebody with the file in hand alters the record. Every alteration of an export is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intact.adapters.store.database import Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.audit.export import Header, checkpoint_line, export_log, leaf_line
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey, sign_checkpoint
from intact.audit.record import Leaf, encode_leaf
from intact.audit.verify import verify_export
from intact.model.errors import TrustError

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = NoteKey(name="intact/test", public=PRIVATE.public_key().public_bytes_raw())


def write_log(directory: Path, texts: list[list[str]]) -> list[bytes]:
    database = Database.in_directory(directory)
    store = SqlLeafStore(database)
    log = AuditLog(store, key=KEY, signer=PRIVATE, now=1.0)
    for batch in texts:
        log.append([Leaf(kind="KeyEvent", at=2.0, body={"text": text}) for text in batch])
    lines = list(export_log(store)[1])
    database.close()
    return lines


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[bytes]]:
    yield write_log(tmp_path_factory.mktemp("log"), [["a"], ["b", "same", "same"], ["c"], ["d", "é\n"]])


def read_lines(data: bytes) -> list[bytes]:
    """As a file is read: lines end in a line feed and in nothing else."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def test_the_record_as_it_was_written_verifies(lines: list[bytes]) -> None:
    verified = verify_export(lines, [KEY])
    assert (verified.checkpoint.size, verified.checkpoints) == (8, 5)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_every_flipped_bit_is_refused(lines: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(lines))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TrustError):
        verify_export(read_lines(bytes(whole)), [KEY])


def test_every_flipped_byte_is_refused(lines: list[bytes]) -> None:
    whole = b"".join(lines)
    for position in range(len(whole)):
        with pytest.raises(TrustError):
            verify_export(read_lines(whole[:position] + bytes([whole[position] ^ 0x20]) + whole[position + 1 :]), [KEY])


@pytest.mark.parametrize("number", range(14))
def test_every_dropped_line_is_refused(lines: list[bytes], number: int) -> None:
    assert len(lines) == 14
    with pytest.raises(TrustError):
        verify_export(lines[:number] + lines[number + 1 :], [KEY])


@given(data=st.data())
def test_every_swap_is_refused(lines: list[bytes], data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=2, max_size=2, unique=True)))
    swapped = [*lines]
    swapped[first], swapped[second] = swapped[second], swapped[first]
    assume(swapped != lines)
    with pytest.raises(TrustError):
        verify_export(swapped, [KEY])


@given(data=st.data())
def test_every_duplicate_is_refused(lines: list[bytes], data: st.DataObject) -> None:
    source, target = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines)))
    with pytest.raises(TrustError):
        verify_export([*lines[:target], lines[source], *lines[target:]], [KEY])


def test_every_truncation_is_refused(lines: list[bytes]) -> None:
    whole = b"".join(lines)
    for length in range(len(whole)):
        with pytest.raises(TrustError):
            verify_export(read_lines(whole[:length]), [KEY])


def test_an_edited_leaf_is_named(lines: list[bytes]) -> None:
    edited = [line.replace(b'"text":"c"', b'"text":"C"') for line in lines]
    with pytest.raises(TrustError, match=r"line 10: leaf 5 was edited"):
        verify_export(edited, [KEY])


def test_an_edited_leaf_with_its_hash_rewritten_is_found_by_the_signature(lines: list[bytes]) -> None:
    forged = encode_leaf(Leaf(kind="KeyEvent", at=2.0, body={"text": "C"}))
    edited = [leaf_line(5, forged) if b'"text":"c"' in line else line for line in lines]
    with pytest.raises(TrustError, match="leaf 5 is not what was signed"):
        verify_export(edited, [KEY])


def test_two_equal_leaves_cannot_change_their_number(lines: list[bytes]) -> None:
    fewer = [line for line in lines if b'"index":4' not in line]
    with pytest.raises(TrustError):
        verify_export(fewer, [KEY])


def test_a_missing_leaf_is_named(lines: list[bytes]) -> None:
    with pytest.raises(TrustError, match="leaf 2 is missing or moved: leaf 3 stands in that place"):
        verify_export([line for line in lines if b'"index":2' not in line], [KEY])


def test_a_record_cut_back_with_a_new_header_is_found_by_a_kept_checkpoint(lines: list[bytes]) -> None:
    kept = verify_export(lines, [KEY]).note
    cut = [Header(origin="intact/test", leaves=1, checkpoints=1).encode(), *lines[1:3]]
    assert verify_export(cut, [KEY]).checkpoint.size == 1
    with pytest.raises(TrustError, match="had 8 leaves when the kept checkpoint was made, here are 1"):
        verify_export(cut, [KEY], kept=[kept])
    assert verify_export(lines, [KEY], kept=[kept, verify_export(cut, [KEY]).note]).checkpoint.size == 8


def test_a_log_rewritten_by_whoever_holds_the_key_is_found_by_a_kept_checkpoint(lines: list[bytes], tmp_path: Path) -> None:
    kept = verify_export(lines, [KEY]).note
    rewritten = write_log(tmp_path, [["a"], ["b", "same", "same"], ["innocent"], ["d", "é\n"], ["more"]])
    verify_export(rewritten, [KEY])
    with pytest.raises(TrustError, match="rewritten or forked"):
        verify_export(rewritten, [KEY], kept=[kept])


def test_another_key_of_the_same_name_is_refused(lines: list[bytes]) -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
    with pytest.raises(TrustError, match="by no key that is trusted"):
        verify_export(lines, [NoteKey(name=KEY.name, public=other.public_key().public_bytes_raw())])
    forger = NoteKey(name=KEY.name, public=other.public_key().public_bytes_raw())
    forged = [*lines[:-1], checkpoint_line(sign_checkpoint(verify_export(lines, [KEY]).checkpoint, forger, other))]
    with pytest.raises(TrustError, match="by no key that is trusted"):
        verify_export(forged, [KEY])


def test_a_store_altered_behind_the_log_is_refused_at_the_next_start(tmp_path: Path) -> None:
    write_log(tmp_path, [["a"], ["b"]])
    database = Database.in_directory(tmp_path)
    with database.write() as connection:
        connection.exec_driver_sql("delete from audit_checkpoints where size = 3")
        connection.exec_driver_sql("update audit_checkpoints set peaks = zeroblob(32) where size = 2")
    with pytest.raises(TrustError, match="another root than its checkpoint"):
        AuditLog(SqlLeafStore(database), key=KEY, signer=PRIVATE, now=3.0)
    database.close()


def test_a_leaf_edited_in_the_store_is_found_in_the_export(tmp_path: Path) -> None:
    write_log(tmp_path, [["a"], ["guilty"]])
    database = Database.in_directory(tmp_path)
    with database.write() as connection:
        connection.exec_driver_sql("update audit_leaves set data = cast(replace(cast(data as text), 'guilty', 'guiltx') as blob)")
    with pytest.raises(TrustError, match="leaf 2 is not what was signed"):
        verify_export(export_log(SqlLeafStore(database))[1], [KEY])
    database.close()
