"""Bytecode is told apart by what it says, whatever the process shared when it wrote it, and hostile bytes only cost their length."""

from __future__ import annotations

import contextlib
import marshal
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.adapters.provenance.bytecode import NotUnderstood, digest_code

SOURCE = """
import os
from a.b import c as d
NAMES = {"x", "y", 1, 2.5, 3j, None, ..., 10**30, -5}
def f(a, /, b=7, *, c: int = (1, (2, b"x")), **k):
    async def g():
        return [z async for z in a if z in {1, 2, "zwei", "ü", "\\udc80"}]
    return lambda: (g, f"{a!r:>{b}}")
class K[T]: pass
"""


def compiled(source: str = SOURCE, name: str = "/x/y.py", optimize: int = 0) -> bytes:
    if sys.version_info < (3, 12):
        source = source.replace("class K[T]", "class K")
    return marshal.dumps(compile(source, name, "exec", dont_inherit=True, optimize=optimize))


def test_the_file_name_is_that_of_the_outermost_code() -> None:
    assert digest_code(compiled())[1] == b"/x/y.py"


def test_sharing_makes_no_difference() -> None:
    """The same code after a round trip shares other objects and bears other flags."""
    one = compiled()
    other = marshal.dumps(marshal.loads(one))
    unshared = marshal.dumps(marshal.loads(one), 2)
    assert digest_code(one) == digest_code(other) == digest_code(unshared)
    assert one != unshared


@pytest.mark.parametrize(
    "other",
    [compiled(SOURCE.replace("7", "8")), compiled(SOURCE.replace("zwei", "drei")), compiled(SOURCE.replace("2.5", "2.25")),
     compiled(SOURCE + "\n"  "1"), compiled(name="/x/z.py"), compiled(SOURCE.replace("import os", "\nimport os")),
     compiled(SOURCE.replace("10**30", "10**31")), compiled(SOURCE.replace("b=7", "e=7"))],
)  # fmt: skip
def test_any_other_code_has_another_digest(other: bytes) -> None:
    assert digest_code(other)[0] != digest_code(compiled())[0]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_read(data: bytes) -> None:
    for prefix in (b"", b"\xe3", b"\xe3" + bytes(20) + b"s\0\0\0\0"):
        with contextlib.suppress(NotUnderstood):
            digest_code(prefix + data)


@given(st.integers(0, 2**32), st.integers(0, 255))
def test_a_byte_that_is_changed_is_noticed_or_says_nothing(seed: int, value: int) -> None:
    """Whatever still reads as the same code is the same code: only flags and the sharing of equal objects may differ."""
    one = bytearray(compiled())
    at = random.Random(seed).randrange(len(one))
    before = one[at]
    one[at] = value
    try:
        same = digest_code(bytes(one)) == digest_code(compiled())
    except NotUnderstood:
        return
    assert not same or before == value or before ^ value == 0x80 or chr(before & 0x7F) in "aAuztZ" or _says_the_same(bytes(one))


def _says_the_same(data: bytes) -> bool:
    """Only for what this very test wrote."""
    return bool(marshal.loads(data) == marshal.loads(compiled()))


def test_an_object_cannot_hold_itself() -> None:
    loop = b"\xe3" + bytes(20) + b"r\0\0\0\0"
    with pytest.raises(NotUnderstood):
        digest_code(loop)


def test_depth_is_bounded() -> None:
    with pytest.raises(NotUnderstood, match="deep"):
        digest_code(b"c" + bytes(20) + b")\x01" * 100_000)


def test_references_that_multiply_cost_their_length() -> None:
    """Each tuple refers to the one before it, ten times over."""
    data = b"\xe3" + bytes(20) + b")\x28" + b"\xa9\x00"
    for n in range(1, 40):
        data += b"\xa9\x0a" + (b"r" + n.to_bytes(4, "little")) * 10
    with pytest.raises(NotUnderstood, match="cut off"):
        digest_code(data)
