"""Reports on disk until the cluster has stored them: in order, across crashes, within a bound, and nothing dropped in silence.

In: reports. Out: the same, oldest first, until acknowledged. One file a report (`frame.py`), named by its place in the order. A report that
cannot be kept is refused with TemporaryError, and the refusal is told as a `Gap` with the next report that can be. Never decides what a
report means, and never talks to the network.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from intact.adapters.codec import decode, encode
from intact.model.errors import InputError, TemporaryError
from intact.model.seam import Gap, Report

from .frame import Header, describe, inflate, pack, unpack
from .split import MAX_REPORT_BYTES, split

log = structlog.get_logger()

DEFAULT_MAX_BYTES = 256 << 20
MAX_REFUSED_KEPT = 100
_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """One waiting report: `number` is its place in the order."""

    number: int
    report: Report


@dataclass(slots=True)
class _Kept:
    header: Header
    size_bytes: int


class Spool:
    """The waiting reports of one node in `directory`, which no other process may use at the same time.

    `max_bytes` bounds what they take on disk. Opening it 1. takes the directory's lock, 2. removes unfinished writes, 3. checks every
    frame: a broken one is set aside and told as a Gap.
    """

    def __init__(self, directory: Path, clock: Callable[[], float], *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._directory = directory
        self._clock = clock
        self._max_bytes = max_bytes
        self._kept: dict[int, _Kept] = {}
        self._changed = threading.Condition()
        self._gap: Gap | None = None
        self._closed = False
        self.size_bytes = 0
        """What the waiting reports take on disk."""
        self.replaced = 0
        """Reports of good news that later ones made needless."""
        self.refused = 0
        """Reports that could not be kept; each is part of a Gap."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._dir_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TemporaryError(f"cannot use the spool directory {directory}: {error.strerror}", code="SpoolUnusable") from error
        # 1
        try:
            fcntl.flock(self._dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._dir_fd)
            raise TemporaryError(f"another process uses the spool {directory}", code="SpoolInUse") from error
        self._next = 1
        self._load()

    def _load(self) -> None:
        for path in sorted(self._directory.iterdir()):
            if path.stem.isdigit():
                self._next = int(path.stem) + 1
            # 2
            if path.suffix == ".part":
                path.unlink()
            elif path.suffix == ".report" and path.stem.isdigit():
                # 3
                try:
                    header, _ = unpack(self._read(path))
                    self._keep(int(path.stem), header, path.stat().st_size)
                except InputError as error:
                    log.error("spooled_report_broken", file=path.name, reason=str(error))
                    self._set_aside(path, "broken")
                    self._note_gap("a spooled report was broken on disk")

    def append(self, report: Report) -> None:
        """Returns when `report` is on disk for good.

        1. A report larger than the cluster takes is split. 2. Room is made, if needed, by dropping good news that a later report repeats.
        3. The frame is written beside its place and synced. 4. It is renamed into its place and the directory synced. Raises TemporaryError
        when there is no room (by the bound or on the disk): the report is then not kept and counted in a Gap, and the caller says again
        what it said once reports are taken again.
        """
        # 1
        for part in split(report, MAX_REPORT_BYTES):
            self._append(part)

    def _append(self, report: Report) -> None:
        with self._changed:
            gap = self._gap
            if gap is not None:
                report = replace(report, gaps=(*report.gaps, gap))
            header = describe(report)
            frame = pack(header, encode(report))
            # 2
            if self.size_bytes + _on_disk(len(frame)) > self._max_bytes:
                self._drop_replaced(header)
            if self.size_bytes + _on_disk(len(frame)) > self._max_bytes:
                raise self._count_refusal(f"the spool is full: {self.size_bytes} of {self._max_bytes} bytes wait", "SpoolFull")
            try:
                self._write(self._next, frame)
            except OSError as error:
                self._drop_replaced(header)
                raise self._count_refusal(f"the disk refused a report: {error.strerror}", _code(error)) from error
            self._keep(self._next, header, len(frame))
            self._next += 1
            self._gap = None
            self._changed.notify_all()

    def _write(self, number: int, frame: bytes) -> None:
        name = f"{number:016d}"
        # 3
        fd = os.open(f"{name}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self._dir_fd)
        try:
            view = memoryview(frame)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        except OSError:
            os.unlink(f"{name}.part", dir_fd=self._dir_fd)
            raise
        finally:
            os.close(fd)
        # 4
        os.rename(f"{name}.part", f"{name}.report", src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        os.fsync(self._dir_fd)

    def _drop_replaced(self, newest: Header) -> None:
        later = set(newest.subjects)
        for number in sorted(self._kept, reverse=True):
            header = self._kept[number].header
            if header.replaceable and later.issuperset(header.subjects):
                self._remove(number)
                self.replaced += 1
            later.update(header.subjects)

    def _count_refusal(self, message: str, code: str) -> TemporaryError:
        self.refused += 1
        self._note_gap(message)
        log.error("report_refused", reason=message, refused=self.refused)
        return TemporaryError(message, code=code, hint="reports are kept again once the controller answers or the disk has room")

    def _note_gap(self, reason: str) -> None:
        now = self._clock()
        before = self._gap
        self._gap = Gap(
            since=before.since if before else now, until=now, reason=reason, events_lost=(before.events_lost if before else 0) + 1
        )

    def oldest(self, wait_s: float) -> Spooled | None:
        """The report whose turn it is; waits up to `wait_s` seconds for one. None if there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._kept or self._closed, wait_s)
            while self._kept and not self._closed:
                number = next(iter(self._kept))
                path = self._path(number)
                try:
                    return Spooled(number=number, report=decode(Report, inflate(unpack(self._read(path))[1])))
                except (InputError, OSError) as error:
                    log.error("spooled_report_broken", file=path.name, reason=str(error))
                    self._forget(number)
                    self._set_aside(path, "broken")
                    self._note_gap("a spooled report was broken on disk")
            return None

    def acknowledge(self, number: int) -> None:
        """The cluster has stored it."""
        with self._changed:
            if number in self._kept:
                self._remove(number)

    def refuse(self, number: int, reason: str) -> None:
        """The cluster will never take it: it is set aside for people (the last `MAX_REFUSED_KEPT`), and told as a Gap."""
        with self._changed:
            if number in self._kept:
                self._forget(number)
                self._set_aside(self._path(number), "refused")
                self.refused += 1
                self._note_gap(f"the controller refused a report: {reason}")

    def pending_gap(self) -> Gap | None:
        """What could not be kept and has not been told yet."""
        return self._gap

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """Lets go of the directory; what waits stays."""
        with self._changed:
            if not self._closed:
                self._closed = True
                os.close(self._dir_fd)
                self._changed.notify_all()

    def _keep(self, number: int, header: Header, size_bytes: int) -> None:
        self._kept[number] = _Kept(header, _on_disk(size_bytes))
        self.size_bytes += _on_disk(size_bytes)

    def _forget(self, number: int) -> None:
        self.size_bytes -= self._kept.pop(number).size_bytes

    def _remove(self, number: int) -> None:
        self._forget(number)
        self._path(number).unlink(missing_ok=True)

    def _set_aside(self, path: Path, why: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_suffix(f".{why}"))
        for old in sorted(p for p in self._directory.iterdir() if p.suffix in (".broken", ".refused"))[:-MAX_REFUSED_KEPT]:
            old.unlink()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:016d}.report"

    def _read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            return file.read(2 * MAX_REPORT_BYTES)


def _on_disk(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK) * _BLOCK


def _code(error: OSError) -> str:
    return "DiskFull" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "DiskError"
