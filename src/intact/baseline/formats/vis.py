r"""Names as vis(3) writes them, for mtree: any byte as `\ooo`, blanks as `\s`, and the other spellings that unvis(3) reads.

In: bytes. Out: bytes. Written are only octal escapes, which every mtree and libarchive read.
"""

from __future__ import annotations

import re

from intact.model.errors import InputError

_SAFE = frozenset(range(0x21, 0x7F)) - frozenset(b"#*=?[\\")
_WRITTEN = [bytes((byte,)) if byte in _SAFE else b"\\%03o" % byte for byte in range(256)]
_C_STYLE = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"s": 32, b"t": 9, b"v": 11, b"E": 27}
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|M\^(.)|M-(.)|\^(.)|([abfnrstvE])|([$\n])|([!-/:-@\[-`{-~])|(.?))", re.DOTALL)


def encode_vis(data: bytes) -> bytes:
    """Every byte that is not plain graphic ASCII as backslash and three octal digits; so are `#`, `=`, `\\` and the signs of patterns."""
    return b"".join(map(_WRITTEN.__getitem__, data))


def decode_vis(text: bytes) -> bytes:
    """The inverse, for all styles of vis(3). Raises InputError on an escape that unvis(3) does not know, or a NUL."""
    return _ESCAPE.sub(_decode, text) if b"\\" in text else text


def _decode(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, meta_control, meta, control, style, hidden, itself, _ = match.groups()
    if octal:
        code = int(octal, 8)
    elif hexadecimal:
        code = int(hexadecimal, 16)
    elif meta_control:
        code = 0x80 | _control(meta_control)
    elif meta:
        code = 0x80 | meta[0]
    elif control:
        code = _control(control)
    elif style:
        code = _C_STYLE[style]
    elif hidden:
        return b""
    elif itself:
        return itself
    else:
        code = 0
    if not 0 < code < 256:
        raise InputError(f"{match[0]!r} is no escape that unvis(3) knows, or stands for NUL", code="ListFormat")
    return bytes((code,))


def _control(character: bytes) -> int:
    return 0x7F if character == b"?" else character[0] & 0x1F
