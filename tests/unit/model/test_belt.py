"""belt-hash is that of STB 34.101.31: the standard's own examples (tests A.24 to A.26), and one of another implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.model.belt import BeltHash

TEXT = bytes.fromhex("b194bac80a08f53b366d008e584a5de48504fa9d1bb6c7ac252e72c202fdce0d5be3d61217b96181fe6786ad716b890b")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (TEXT[:13], "abef9725d4c5a83597a367d14494cc2542f20f659ddfecc961a3ec550cba8c75"),
        (TEXT[:32], "749e4c3653aece5e48db4761227742eb6dbe13f4a80f7beff1a9cf8d10ee7786"),
        (TEXT, "9d02ee446fb6a29fe5c982d4b13af9d3e90861bc4cef27cf306bfb0b174a154a"),
        (b"hello world", "afb175816416fbadad4629ecbd78e1887789881f2d2e5b80c22a746b7ac7ba88"),
    ],
    ids=["A.24", "A.25", "A.26", "RustCrypto"],
)
def test_the_values_are_the_standard_s(data: bytes, value: str) -> None:
    assert BeltHash(data).digest().hex() == value


@given(st.lists(st.binary(max_size=100), max_size=6))
def test_it_does_not_matter_how_the_bytes_come(parts: list[bytes]) -> None:
    whole = BeltHash(b"".join(parts)).digest()
    hasher = BeltHash()
    for part in parts:
        hasher.update(memoryview(part))
        hasher.digest()
    assert hasher.digest() == whole


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_different_contents_have_different_values(one: bytes, other: bytes) -> None:
    assert (BeltHash(one).digest() == BeltHash(other).digest()) == (one == other)
