r"""Bytes as text and back, without loss: for paths and attributes in JSON, where any byte may occur and people should still read them.

UTF-8 stays as it is, a backslash is doubled, a byte that is not part of valid UTF-8 becomes `\xNN` (lower case). Every byte string has
exactly one text; `unescape_bytes` refuses every other text. For display alone `entry.display_path` is safer: it hides control characters.
"""

from __future__ import annotations

import re

from .errors import InputError

_ESCAPE = re.compile(r"\\(?:\\|x([89a-f][0-9a-f]))")


def escape_bytes(data: bytes) -> str:
    r"""`b"/caf\xc3\xa9"` → `/café`, `b"a\\b"` → `a\\b`, `b"\xff"` → `\xff`."""
    return data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unescape_bytes(text: str) -> bytes:
    """The inverse of `escape_bytes`; raises InputError on any text it cannot have made."""
    if "\\" not in text:
        return _encode(text)
    parts = []
    position = 0
    while (start := text.find("\\", position)) >= 0:
        match = _ESCAPE.match(text, start)
        if match is None:
            raise InputError(f"not escaped bytes: {text[start : start + 10]!r}", hint=r"a backslash is written \\, a raw byte \x80 to \xff")
        parts += [_encode(text[position:start]), b"\\" if match[1] is None else bytes.fromhex(match[1])]
        position = match.end()
    data = b"".join([*parts, _encode(text[position:])])
    if escape_bytes(data) != text:
        raise InputError(f"not the one way to write these bytes: {text[:100]!r}")
    return data


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InputError(f"not Unicode text: {text[:100]!r}") from None
