"""What is read of an archive is bounded, and what was found before a bound bit holds."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest

from intact.adapters.provenance import members
from intact.adapters.provenance.members import Search, TooMuch


def archive(contents: dict[str, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    return made


def search(*wanted: bytes) -> Search:
    by_size: dict[int, frozenset[bytes]] = {}
    for content in wanted:
        by_size[len(content)] = by_size.get(len(content), frozenset()) | {hashlib.sha256(content).digest()}
    return Search(hashlib.sha256, by_size)


def test_members_are_found_by_content_and_never_by_name() -> None:
    one = search(b"code", b"other")
    one.read(archive({"x": b"code", "code": b"edoc", "d/": b""}))
    assert one.found == {hashlib.sha256(b"code").digest()}
    assert one.sizes == {4}


def test_archives_in_the_archive_are_read_and_archives_in_those_are_not() -> None:
    inner = archive({"x": b"once", "deeper.jar": archive({"y": b"twice"}).getvalue()}).getvalue()
    one = search(b"once", b"twice")
    one.read(archive({"lib/a.jar": inner}))
    assert one.found == {hashlib.sha256(b"once").digest()}


def test_too_many_members_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_ENTRIES", 3)
    one = search(b"1")
    with pytest.raises(TooMuch):
        one.read(archive({str(n): b"%d" % n for n in range(5)}))
    assert one.found == {hashlib.sha256(b"1").digest()}


def test_too_much_to_unpack_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_UNPACKED_BYTES", 1000)
    one = search(bytes(600))
    with pytest.raises(TooMuch):
        one.read(archive({str(n): bytes(600) for n in range(5)}))


def test_a_member_that_is_longer_than_it_says_is_left_out() -> None:
    made = archive({"x": bytes(5000)}).getvalue()
    lying = made.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != made
    one = search(bytes(10))
    one.read(io.BytesIO(lying))
    assert one.found == set()
