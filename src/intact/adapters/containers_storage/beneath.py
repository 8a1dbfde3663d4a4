"""Files below one directory that somebody else writes: opened relative to its handle, so that no name leads out of it.

In: a directory and names relative to it. Out: descriptors of regular files and bounded contents. What is to be opened is looked at first
(O_PATH), so that no FIFO is waited for and no device is touched. Never writes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from intact.adapters.linux.syscalls import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from intact.model.entry import display_path
from intact.model.errors import InputError, PermanentError

_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_AS_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_PERMISSION_HINT = "root reads every store; the owner of a rootless one: podman unshare intact …"
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_REFUSED = (errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)


class Missing(Exception):
    """Nothing is there under that name."""


class Beneath:
    """A directory by its handle; `what` names it in errors."""

    def __init__(self, descriptor: int, what: str) -> None:
        self._descriptor = descriptor
        self.what = what

    @classmethod
    def open(cls, path: Path) -> Self:
        """The user's own path, symlinks and all. Raises InputError or PermanentError."""
        try:
            return cls(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), str(path))
        except PermissionError:
            raise PermanentError(f"{path}: permission denied", code="Permission", hint=_PERMISSION_HINT) from None
        except OSError as error:
            hint = "containers-storage:[DRIVER@GRAPHROOT]NAME says where another store is"
            raise InputError(f"no store at {path}: {error.strerror}", code="NoSuchStore", hint=hint) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def enter(self, name: str) -> Beneath:
        """A directory below; no symlink on the way. Raises Missing, InputError or PermanentError."""
        return Beneath(self._open(os.fsencode(name), os.O_PATH | os.O_DIRECTORY, _STRICT), f"{self.what}/{name}")

    def has(self, name: str) -> bool:
        try:
            os.close(self._open(os.fsencode(name), os.O_PATH | os.O_NOFOLLOW, _STRICT))
        except Missing:
            return False
        return True

    @contextmanager
    def open_file(self, name: bytes, *, follow: bool = False) -> Iterator[int]:
        """A regular file for reading. `follow`: symlinks in directories of the name stay inside, as in a chroot; the last part is never
        followed. Raises Missing, InputError (no regular file, a name that leads out) or PermanentError (no right to read)."""
        looked_at = self._open(name, os.O_PATH | os.O_NOFOLLOW, _AS_ROOT if follow else _STRICT)
        try:
            if not stat.S_ISREG(os.fstat(looked_at).st_mode):
                raise InputError(f"{self._say(name)} is not a regular file", code="StoreDamaged")
            try:
                descriptor = os.open(f"/proc/self/fd/{looked_at}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise self._explain(name, error) from None
        finally:
            os.close(looked_at)
        try:
            yield descriptor
        except OSError as error:
            raise self._explain(name, error) from None
        finally:
            os.close(descriptor)

    def read(self, name: str, max_bytes: int) -> bytes:
        """A small file, whole. Raises Missing, InputError or PermanentError."""
        with self.open_file(os.fsencode(name)) as descriptor, open(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise InputError(f"{self.what}/{name} is larger than {max_bytes} bytes", code="TooLarge")
        return data

    def _open(self, name: bytes, flags: int, resolve: int) -> int:
        if b"\0" in name:
            raise InputError(f"{self._say(name)} is not a file's name", code="StoreDamaged")
        try:
            return openat2(self._descriptor, name, flags, resolve)
        except OSError as error:
            if error.errno in _ABSENT:
                raise Missing(self._say(name)) from None
            if error.errno in _REFUSED:
                raise InputError(f"{self._say(name)} leads out of the store, or does not end", code="StoreDamaged") from None
            raise self._explain(name, error) from None

    def _explain(self, name: bytes, error: OSError) -> PermanentError:
        if error.errno in (errno.EACCES, errno.EPERM):
            return PermanentError(f"{self._say(name)}: permission denied", code="Permission", hint=_PERMISSION_HINT)
        return PermanentError(f"{self._say(name)}: {error.strerror}", code="Unreadable", hint="the disk, or a kernel before 5.6")

    def _say(self, name: bytes) -> str:
        return f"{self.what}/{display_path(name, 200)}"
