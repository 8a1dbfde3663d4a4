"""Laws of the spool's frames: what was packed comes out, and what was not packed by us never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.adapters.seam.frame import Header, inflate, pack, unpack
from intact.model.errors import InputError

HEADERS = st.builds(
    Header, id=st.text(max_size=40), replaceable=st.booleans(), subjects=st.lists(st.text(max_size=20), max_size=5).map(tuple)
)


@given(HEADERS, st.binary(max_size=5000))
def test_what_was_packed_comes_out(header: Header, encoded: bytes) -> None:
    found, compressed = unpack(pack(header, encoded))
    assert (found, inflate(compressed)) == (header, encoded)


@given(HEADERS, st.binary(max_size=500), st.data())
def test_any_change_is_refused(header: Header, encoded: bytes, data: st.DataObject) -> None:
    frame = bytearray(pack(header, encoded))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError):
        unpack(bytes(frame))


@given(HEADERS, st.binary(max_size=500), st.data())
def test_any_cut_is_refused(header: Header, encoded: bytes, data: st.DataObject) -> None:
    frame = pack(header, encoded)
    with pytest.raises(InputError):
        unpack(frame[: data.draw(st.integers(0, len(frame) - 1))])


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(InputError):
        unpack(noise)
