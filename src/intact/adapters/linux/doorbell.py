"""The node-wide doorbell: the port `observe.ports.Doorbell` on fanotify.

In: directories to watch (a container's upper and lower ones). Out: `Rings`. Never reads a file, never resolves a name a container chose:
what an event names is found by its handle, in whichever place it is by now.

1. One thread drains the kernel's queues (`drain`), another finds out what was touched: one that floods costs the others nothing.
2. A write names the file as it was first looked up. The file's own handle tells where it is now: that path is dirty too; one with several
   names, or none that can be found, makes its whole watched directory dirty.
3. A watched directory that floods is no longer followed event by event (`observe.flood`).
4. An overflow, of the kernel's queue or of ours, makes everything dirty and is counted.
5. Where the disk does not tell of writes through overlays (tier B), the overlays are asked (`overlay_marks`).
6. Executions of files of an upper directory are told apart: they need no look at the file, and may be all that is left of it.
   The file that was executed is not always the one that its path leads to afterwards: that is told, too.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from intact.model.errors import PermanentError
from intact.observe.doorbell import Place, RingBook, WorkPlace
from intact.observe.flood import FloodGauge, Ring
from intact.observe.ports import Process, Rings, Tier, View

from . import fanotify, hearing, processes
from .drain import HELD_BYTES, Batch, Drain
from .executions import Executions
from .fanotify import CLOSE_WRITE, CREATE, ENTRIES, MODIFY, MOVED_FROM, MOVED_TO, ON_DIRECTORY, OPEN_EXEC, Q_OVERFLOW, WRITES, Event
from .overlay_marks import Lost, OverlayGroup, Written
from .places import Places

HELD_S = 0.01
"""Nobody waits longer than this for the rings so far, where finding paths takes long."""


class FanotifyDoorbell:
    """`scratch` is a directory of the file system that holds the snapshots, for the self-test; it is left as it was. `at_most` is the best
    tier to use (`hearing.TIERS`), `held_bytes` bounds what waits for its meaning. Without `executions` only writers that live on are
    named."""

    def __init__(
        self,
        scratch: Path,
        *,
        at_most: str = "A",
        names_writers: bool = True,
        executions: Executions | None = None,
        held_bytes: int = HELD_BYTES,
        gauge: FloodGauge | None = None,
    ) -> None:
        self._scratch, self._at_most, self._held_bytes = scratch, at_most, held_bytes
        self._names_writers, self._executions = names_writers, executions
        self._book, self._gauge = RingBook(), gauge or FloodGauge()
        self._rung = threading.Condition()
        self._group: fanotify.Group | None = None
        self._overlays: OverlayGroup | None = None
        self._views: dict[int, bytes] = {}
        self._uppers: set[bytes] = set()
        self._is_told_twice = False
        self._drain: Drain | None = None
        self._thread: threading.Thread | None = None
        self._failed: str | None = None
        self._answered = 0
        self._followed: set[bytes] = set()
        self._described: dict[int, Process | None] = {}
        self._quiet_since_ticks = self._until_ns = 0

    def start(self) -> Tier:
        """Begins to listen. Tier C, with the reason, is a doorbell that never rings; `watch` and `wait` work all the same."""
        try:
            self._group, self._overlays = fanotify.Group(), OverlayGroup()
            self._group.hear(os.fsencode(self._scratch))
            found = hearing.find_tier(self._group, self._overlays, self._scratch)
        except OSError as error:
            found = Tier(name="C", reason=f"no events: {error.strerror or error}")
        tier = hearing.limit_tier(found, self._at_most)
        self._is_told_twice = tier.name == "B" and found.name == "A"
        if tier.name != "B" and self._overlays is not None:
            self._overlays.close()
            self._overlays = None
        if tier.name == "C":
            self._close_groups()
            return tier
        assert self._group is not None
        self._places = Places(self._group, self._book)
        self._drain = Drain(self._group, self._overlays, held_bytes=self._held_bytes)
        self._thread = threading.Thread(target=self._listen, args=(self._drain,), name="doorbell", daemon=True)
        self._thread.start()
        return tier

    def watch(self, directories: Iterable[bytes], view: View | None = None) -> Mapping[bytes, str]:
        wanted = list(directories)
        unheard = {}
        with self._rung:
            self._book.watch(wanted)
            if view is not None:
                self._uppers.add(view.upper)
            if self._group is None:
                return {}
            self._places.clear()
            for directory in wanted:
                try:
                    self._group.hear(directory)
                except OSError as error:
                    unheard[directory] = error.strerror or str(error)
            if self._overlays is not None and view is not None:  # 5
                try:
                    self._overlays.hear(view.root, view.device)
                    self._views[view.device] = view.upper
                except OSError as error:
                    unheard[view.upper] = f"writes to files already changed are not heard: {error.strerror or error}"
        return unheard

    def forget(self, directories: Iterable[bytes]) -> None:
        gone = set(directories)
        with self._rung:
            self._book.forget(gone)
            self._uppers -= gone
            self._gauge.forget(gone)
            if self._group is not None:
                self._places.clear()
            if self._overlays is not None:
                for device in [device for device, upper in self._views.items() if upper in gone]:
                    self._overlays.forget(device)
                    del self._views[device]

    def wait(self, timeout_s: float) -> Rings:
        """Raises PermanentError once if a thread that listens has died: the caller must not go on as if it heard."""
        with self._rung:
            if not self._book and self._failed is None:
                self._rung.wait(timeout_s)
            if self._failed is not None:
                raise PermanentError(f"the doorbell stopped: {self._failed}", hint="restart the agent; a full look follows")
            for directory in self._gauge.settle(time.monotonic()):  # 3
                self._book.mark_whole(directory)
            return replace(self._book.take(), floods=self._gauge.flooding)

    def catch_up(self, timeout_s: float) -> Rings:
        with self._rung:
            if self._drain is not None:
                asked = self._drain.ask()
                self._rung.wait_for(lambda: self._answered >= asked or self._failed is not None, timeout_s)
            return self.wait(0.0)

    def close(self) -> None:
        if self._drain is not None and self._thread is not None:
            self._drain.close()
            self._thread.join()
            self._drain = self._thread = None
        self._close_groups()

    def _close_groups(self) -> None:
        for group in (self._group, self._overlays):
            if group is not None:
                group.close()
        self._group = self._overlays = None

    def _listen(self, drain: Drain) -> None:
        try:
            while (batch := drain.take()) is not None:  # 1
                self._take_batch(batch)
        except Exception as error:
            with self._rung:
                self._failed = f"{type(error).__name__}: {error}"
                self._rung.notify_all()

    def _take_batch(self, batch: Batch) -> None:
        self._followed.clear()
        self._described.clear()
        self._quiet_since_ticks, self._until_ns = batch.quiet_since_ticks, batch.until_ns
        self._places.begin_batch()
        events = chain(batch.written, chain.from_iterable(map(fanotify.parse_events, batch.buffers)))
        with self._rung:
            if batch.lost:  # 4
                self._book.mark_everything(batch.lost)
                self._places.clear()
        is_left = True
        while is_left:
            with self._rung:
                is_left = self._take_in(events)
                if self._book:
                    self._rung.notify_all()
            time.sleep(0)  # who waits for the rings so far gets them now
        with self._rung:
            if batch.answers > self._answered:
                self._answered = batch.answers
                self._rung.notify_all()

    def _take_in(self, events: Iterable[Event | Written | Lost]) -> bool:
        """Takes events from the front for `HELD_S`; whether some may be left."""
        now = time.monotonic()
        until = now + HELD_S
        for event in events:
            match event:
                case Lost():
                    self._book.mark_everything()
                case Written():
                    self._take_written(event, now)
                case _:
                    self._take_event(event, now)
            if (now := time.monotonic()) >= until:
                return True
        return False

    def _take_event(self, event: Event, now: float) -> None:
        if event.mask & ENTRIES:
            self._places.note_entry()
        if event.mask & Q_OVERFLOW:  # 4
            self._book.mark_everything()
            self._places.clear()
        elif event.directory is not None and event.mask & OPEN_EXEC and not event.mask & ~OPEN_EXEC:
            self._take_execution(event)
        elif event.directory is not None:
            if event.mask & OPEN_EXEC:
                self._take_execution(event)
            owner = self._places.owner(event)
            if owner is None or self._counts(owner, now):
                self._follow(event, owner, now)
            elif self._gauge.is_rare(owner, event.directory):
                self._follow_apart(event)
        if event.mask & ON_DIRECTORY and event.mask & (MOVED_FROM | MOVED_TO):
            self._places.note_move()
        if event.mask & ON_DIRECTORY and event.mask & (CREATE | MOVED_TO) and event.directory is not None and event.child is not None:
            self._places.note_made(event)

    def _take_execution(self, event: Event) -> None:
        """6. A file was executed: of the layers beneath that is their purpose."""
        try:
            place = self._places.directory(event)
        except OSError:
            return
        if isinstance(place, Place) and place.watched in self._uppers and event.name not in (b"", b"."):
            path = place.entry(event.name)
            self._book.note_execution(place.watched, path, lambda: self._describe(event.pid) if self._names_writers else None)
            if event.child is not None and self._is_elsewhere(event, event.child, Place(place.watched, path)):
                self._book.note_replaced(place.watched, path)

    def _is_elsewhere(self, event: Event, child: bytes, place: Place) -> bool:
        """6. Whether the file that was executed is known not to be at `place` any more. One that was copied up may be shown in the work
        directory still."""
        try:
            found = self._places.file(event, child)
        except OSError as error:
            return error.errno == errno.ESTALE
        return found.links == 0 or (found.links == 1 and isinstance(found.place, Place) and found.place != place)

    def _counts(self, owner: bytes, now: float) -> bool:
        """3. Whether an event below `owner` is to be followed."""
        match self._gauge.count(owner, now):
            case Ring.PATH:
                return True
            case Ring.WHOLE:
                self._book.mark_whole(owner)
        return False

    def _follow(self, event: Event, owner: bytes | None, now: float) -> None:
        try:
            place = self._places.directory(event)
        except OSError:
            self._book.mark_everything()
            return
        if place is not None and owner is None and not self._counts(place.watched, now):
            if event.directory is not None and self._gauge.is_rare(place.watched, event.directory):
                self._follow_apart(event)
            return
        if place is not None and self._is_told_twice and not event.mask & ~(MODIFY | CLOSE_WRITE) and place.watched in self._views.values():
            return
        named: Place | None = None
        if isinstance(place, Place):
            is_too_deep = place.inside != b"/" and place.inside.endswith(b"/")
            is_below = bool(event.mask & ENTRIES) or is_too_deep
            path = place.inside if event.name in (b"", b".") or is_too_deep else place.entry(event.name)
            self._book.mark(place.watched, path, with_below=is_below)
            self._sign(place.watched, path, event.pid)
            named = Place(place.watched, path)
        if place is not None and event.mask & WRITES and not event.mask & ON_DIRECTORY and event.child:
            self._follow_child(event, place, event.child, named)

    def _follow_apart(self, event: Event) -> None:
        """3. What happens where there is no flood is looked at meanwhile."""
        try:
            place = self._places.directory(event)
        except OSError:
            return
        if isinstance(place, Place) and (place.inside == b"/" or not place.inside.endswith(b"/")):
            path = place.inside if event.name in (b"", b".") else place.entry(event.name)
            self._book.mark_apart(place.watched, path, with_below=bool(event.mask & ENTRIES))
            self._sign(place.watched, path, event.pid)

    def _follow_child(self, event: Event, place: Place | WorkPlace, child: bytes, named: Place | None) -> None:
        """2. Where the written file is now; `named` is where its event says."""
        if child in self._followed or (named is not None and self._places.is_alone(event, child, named)):
            return
        self._followed.add(child)
        try:
            found = self._places.file(event, child)
        except OSError as error:
            if error.errno != errno.ESTALE:
                self._book.mark_whole(place.watched)
            return
        is_being_copied = isinstance(found.place, WorkPlace) and not found.is_unlinked
        if found.links == 0 or (found.links == 1 and is_being_copied):
            return
        if found.links == 1 and isinstance(found.place, Place) and found.place.watched == place.watched:
            self._book.mark(place.watched, found.place.inside)
            if found.place == named:
                self._places.keep_alone(event, child, named)
        else:
            self._book.mark_whole(place.watched)

    def _take_written(self, written: Written, now: float) -> None:
        """5. A write that an overlay told of."""
        upper = self._views.get(written.device)
        if upper is None or not self._counts(upper, now):
            return
        if written.path is None:
            self._book.mark_whole(upper)
            return
        self._book.mark(upper, written.path)
        self._sign(upper, written.path, written.pid)

    def _sign(self, watched: bytes, path: bytes, pid: int) -> None:
        if self._names_writers:
            self._book.sign(watched, path, lambda: self._describe(pid))

    def _describe(self, pid: int) -> Process | None:
        """Who had `pid` while this batch's events happened."""
        if pid not in self._described:
            if self._executions is None:
                self._described[pid] = processes.describe_process(pid, alive_since_ticks=self._quiet_since_ticks)
            else:
                if not self._described:
                    self._executions.catch_up()
                self._described[pid] = self._executions.describe(pid, self._quiet_since_ticks * processes.TICK_NS, self._until_ns)
        return self._described[pid]
