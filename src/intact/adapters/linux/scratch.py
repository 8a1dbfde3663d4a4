"""An overlay mounted nowhere: for self-tests, and for tests of how overlays behave.

In: directories. Out: a descriptor that is the overlay's root; closing it unmounts. Never appears in any mount table.
"""

from __future__ import annotations

from . import syscalls


def mount_overlay(lowers: tuple[bytes, ...], upper: bytes, work: bytes, options: tuple[tuple[bytes, bytes | None], ...] = ()) -> int:
    """Mounts `upper` over `lowers` (top first). Raises OSError as fsopen(2) and its kin do; needs CAP_SYS_ADMIN.

    Directory names with a colon, a comma or a backslash are not supported.
    """
    layers = ((b"lowerdir", b":".join(lowers)), (b"upperdir", upper), (b"workdir", work))
    return syscalls.mount_detached(b"overlay", (*layers, *options))
