"""What kind of content a file has, in a few words for people: programs above all.

In: the first bytes of a file. Out: `ELF 64-bit x86-64 executable, dynamic, interpreter /lib64/ld-linux-x86-64.so.2`, `script, run by
/bin/sh`, … or nothing. Says what the header says, which an attacker wrote; never judges, and believes no length in it.
"""

from __future__ import annotations

import struct

from intact.model.entry import display_path

HEAD_BYTES = 8192
"""What `describe_content` wants to see: an interpreter's name usually lies within."""

_MACHINES = {
    3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "Arm", 62: "x86-64", 183: "AArch64", 243: "RISC-V", 247: "BPF",
    258: "LoongArch",
}  # fmt: skip
_TYPES = {1: "relocatable object", 2: "executable", 3: "shared object or position-independent executable", 4: "core dump"}
_PT_DYNAMIC, _PT_INTERP = 2, 3
_MOST_SEGMENTS = 64
_MAGIC = (
    (b"PK\x03\x04", "ZIP or JAR archive"),
    (b"\xca\xfe\xba\xbe", "Java class or Mach-O universal binary"),
    (b"MZ", "Windows or EFI program"),
    (b"\0asm", "WebAssembly module"),
    (b"!<arch>\n", "static library or Debian package"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"SQLite format 3\0", "SQLite database"),
    (b"-----BEGIN ", "PEM data"),
    (b"<?php", "PHP source"),
)


def describe_content(head: bytes) -> str:
    """A note on a file that begins with `head`; empty where there is nothing to say."""
    if head.startswith(b"\x7fELF"):
        return _describe_elf(head)
    if head.startswith(b"#!"):
        words = head[2:258].split(b"\n", 1)[0].split()
        return f"script, run by {display_path(b' '.join(words[:2]), 200)}" if words else "script without an interpreter"
    return next((note for magic, note in _MAGIC if head.startswith(magic)), "")


def _describe_elf(head: bytes) -> str:
    """elf(5)."""
    try:
        is_64, order = {1: False, 2: True}[head[4]], {1: "<", 2: ">"}[head[5]]
        kind, machine = struct.unpack_from(order + "HH", head, 16)
        if is_64:
            (offset,), (size, count) = struct.unpack_from(order + "Q", head, 32), struct.unpack_from(order + "HH", head, 54)
        else:
            (offset,), (size, count) = struct.unpack_from(order + "I", head, 28), struct.unpack_from(order + "HH", head, 42)
    except (KeyError, IndexError, struct.error):
        return "ELF, damaged header"
    words = f"ELF {64 if is_64 else 32}-bit {_MACHINES.get(machine, f'machine {machine}')} {_TYPES.get(kind, f'type {kind}')}"
    segments = _read_segments(head, order, is_64, offset, size, min(count, _MOST_SEGMENTS))
    if segments is None:
        return words
    interpreter = segments.get(_PT_INTERP)
    if interpreter is not None:
        start, length = interpreter
        name = head[start : start + min(length, 255)].split(b"\0", 1)[0]
        return f"{words}, dynamic, interpreter {display_path(name, 255) if name else 'not within the first bytes'}"
    return f"{words}, {'dynamic, no interpreter' if _PT_DYNAMIC in segments else 'static'}"


def _read_segments(head: bytes, order: str, is_64: bool, offset: int, size: int, count: int) -> dict[int, tuple[int, int]] | None:
    """Segment type → (offset in the file, size); None if they do not lie within `head`."""
    form = struct.Struct(order + ("IIQQQQ" if is_64 else "IIIII"))
    if size < form.size or offset + size * count > len(head):
        return None
    found = {}
    for number in range(count):
        fields = form.unpack_from(head, offset + number * size)
        found[fields[0]] = (fields[2], fields[5]) if is_64 else (fields[1], fields[4])
    return found
