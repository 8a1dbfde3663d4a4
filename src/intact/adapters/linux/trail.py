"""Paths of any length in bounded memory: what a directory's entries are called in an observation.

In: the names from the root down. Out: absolute paths; one of more than 4096 bytes (PATH_MAX, which no path given to the kernel can exceed)
is shortened to its beginning, its length and hash, and its last name. Never touches a file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

LONGEST_PATH_BYTES = 4096
_KEPT_BYTES = 512


@dataclass(frozen=True, slots=True)
class Trail:
    """The path of a directory: whole in `shown`, or, once it is too long, its beginning, with the running hash of all of it."""

    shown: bytes
    size_bytes: int
    running: hashlib._Hash | None = None

    def path_of(self, name: bytes) -> bytes:
        """The path of the entry `name` of this directory."""
        whole = self.size_bytes + 1 + len(name)
        if self.running is None and whole <= LONGEST_PATH_BYTES:
            return self.shown + b"/" + name
        return self.below(name).itself() + b"/" + name

    def below(self, name: bytes) -> Trail:
        """The trail of the directory `name` in this one."""
        whole = self.size_bytes + 1 + len(name)
        if whole <= LONGEST_PATH_BYTES:
            return Trail(self.shown + b"/" + name, whole)
        running = self._hash()
        running.update(b"/" + name)
        shown = self.shown if self.running else self.shown[:_KEPT_BYTES].rpartition(b"/")[0]
        return Trail(shown, whole, running)

    def itself(self) -> bytes:
        """The path of the directory, `/` for the root."""
        if self.running is None:
            return self.shown or b"/"
        return self.shown + f"/…({self.size_bytes} bytes, sha256 {self.running.hexdigest()[:16]})".encode()

    def _hash(self) -> hashlib._Hash:
        return self.running.copy() if self.running else hashlib.sha256(self.shown)


ROOT = Trail(b"", 0)
