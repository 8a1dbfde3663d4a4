"""Trust as a process is given it: files that are public keys or trust roots → whose signatures count. Never writes a pinned file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from intact.adapters.keys.signing import read_key_file
from intact.adapters.store.atomic import write_atomically
from intact.baseline.trust import Trust, TrustRoot, merge_roots, merge_trust, succeed
from intact.baseline.trust_document import encode_trust, parse_trust
from intact.model.errors import InputError, TrustError

log = structlog.get_logger()


def read_trust_root(file: Path) -> TrustRoot:
    """A trust root, or a public key as one that is nothing but that key. Raises InputError naming the file."""
    data = read_key_file(file)
    try:
        return parse_trust(data)
    except InputError as error:
        raise InputError(f"{file}: {error}", code=error.code) from None


def open_trust(files: Sequence[Path], now: float) -> Trust:
    """Whose signature counts on what is taken in at `now`, by all of `files` together. What one of them revokes counts for none."""
    return merge_trust([read_trust_root(file).for_new(now) for file in files])


class PinnedTrust:
    """The trust root that is pinned in a file and changes there, never older than the newest that was seen. Thread-safe.

    1. The file is read again when it changed. 2. What it says succeeds what is remembered: an older version, or another root of the same
    version, is refused, and a revocation once seen stays. 3. What is believed is remembered before it is used. 4. While the file is
    missing, damaged or refused, what is remembered holds, and that is told.
    """

    def __init__(self, file: Path, *, remembered: Path) -> None:
        self._file, self._remembered = file, remembered
        self._lock = threading.Lock()
        self._known: TrustRoot | None = None
        self._seen: tuple[int, ...] | None = None

    def read(self) -> TrustRoot:
        """What to believe now. Raises InputError where there never was anything to believe."""
        with self._lock:
            seen = self._look()
            if self._known is None or seen != self._seen:
                self._known = self._renew()
                self._seen = seen
            return self._known

    def revoked(self) -> frozenset[str]:
        """The keys that are known to be revoked; none where there is nothing to believe yet."""
        try:
            return self.read().revoked_ids
        except InputError:
            return frozenset()

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _renew(self) -> TrustRoot:
        before = self._known
        if before is None and self._remembered.exists():
            before = read_trust_root(self._remembered)
        try:
            after = read_trust_root(self._file)  # 1
            if before is not None:
                after = succeed(before, after)  # 2
        except (InputError, TrustError) as error:
            if before is None:
                raise
            log.error("trust_root_refused", file=str(self._file), reason=str(error), version=before.version)  # 4
            return before
        if after.version and after != before:
            write_atomically(self._remembered, [encode_trust(after)], mode=0o600)  # 3
            log.info("trust_root", version=after.version, keys=len(after.keys), revoked=len(after.revoked))
        return after


class TrustDirectory:
    """The trust roots and public keys in one directory, as one: what people gave the controller. Thread-safe.

    Each file is pinned on its own, and what was newest of it is remembered in `remembered`. A file that is taken away takes its keys along;
    one that never could be read is told and trusts nobody.
    """

    def __init__(self, directory: Path | None, *, remembered: Path) -> None:
        self._directory, self._remembered = directory, remembered
        self._lock = threading.Lock()
        self._pinned: dict[str, PinnedTrust] = {}

    def read(self) -> TrustRoot:
        roots = [root for name in self._names() if (root := self._read(name)) is not None]
        return merge_roots(roots)

    def _names(self) -> list[str]:
        if self._directory is None:
            return []
        try:
            return sorted(path.name for path in self._directory.iterdir() if not path.name.startswith(".") and path.is_file())
        except OSError as error:
            log.error("trust_not_readable", directory=str(self._directory), reason=error.strerror)
            return []

    def _read(self, name: str) -> TrustRoot | None:
        assert self._directory is not None, "who has no directory has no names"
        with self._lock:
            if name not in self._pinned:
                self._remembered.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._pinned[name] = PinnedTrust(self._directory / name, remembered=self._remembered / f"{name}.json")
            pinned = self._pinned[name]
        try:
            return pinned.read()
        except InputError as error:
            log.error("trust_refused", file=name, reason=str(error))
            return None
