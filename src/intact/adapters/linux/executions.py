"""Who a pid was when something happened, even if the process has exited meanwhile.

In: a pid, and the span of time in which it did something. Out: a `Process`, or None. What the kernel noted of forks, executions and ends
says who it can have been (`observe.lineage`); what it is called now is asked of /proc, only as long as it is that very process. Without
those notes (no right, an old kernel), only processes that lived before and still do are known (`processes`).

One thread reads the notes when a ring is half full, and every second, so that an idle node costs next to nothing; whoever asks reads what
was noted until then. What processes of containers execute and map is kept for whoever looks at what runs (`noted`).
"""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

from intact.observe.lineage import Life, Lineage
from intact.observe.ports import Process

from . import processes
from .links import read_link
from .mounts import root_device
from .noted import Noted
from .processes import TICK_NS, now_ns
from .task_events import ENDED, FORKED, JOINED, MAPPED, NAMED, TaskEvents
from .threads import Headless, find_thread

SEED_AGAIN_NS = 5 * 10**9
"""After a loss, what runs is listed again at most this often."""
READ_EVERY_S = 0.5
_ARGUMENT_BYTES = 4096
_SLACK_TICKS = 2


class Executions:
    """Listens from `start` on. Thread-safe. What belongs to containers is handed to `noted`."""

    def __init__(self, noted: Noted | None = None) -> None:
        self._noted = noted
        self._lock = threading.Lock()
        self._lineage = Lineage(now_ns())
        self._events: TaskEvents | None = None
        self._threaded: set[int] = set()
        """Who may have further threads: the end of the first may not be the end."""
        self._headless: set[int] = set()
        """Those of them whose first thread has ended, and others went on."""
        self._seeded_ns = 0
        self._is_lost = False
        self._wake = -1
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Empty, or why nothing is noted here: then `describe` knows less."""
        try:
            self._events = TaskEvents()
        except (OSError, ValueError) as error:
            return f"short-lived processes are not named: {error}"
        with self._lock:
            self._seed()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="executions", daemon=True)
        self._thread.start()
        return ""

    def close(self) -> None:
        if self._thread is not None:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            os.close(self._wake)
            self._thread = None
        with self._lock:
            if self._events is not None:
                self._events.close()
                self._events = None

    def catch_up(self) -> None:
        """Takes in all that was noted until now."""
        with self._lock:
            if self._events is not None:
                self._take_in(self._events)

    def describe(self, pid: int, since_ns: int, until_ns: int) -> Process | None:
        """Who did with `pid` what was done between the two moments (CLOCK_BOOTTIME). Call `catch_up` after `until_ns` first."""
        with self._lock:
            life = self._lineage.find(pid, since_ns, until_ns) if self._events is not None and not self._is_lost else None
            if life is not None and life.executable:
                return _describe_life(life)
        return processes.describe_process(pid, alive_since_ticks=since_ns // TICK_NS)

    def _run(self) -> None:
        assert self._events is not None
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for descriptor in self._events.descriptors:
            poll.register(descriptor, select.POLLIN)
        woken_at = 0.0
        while self._wake not in dict(poll.poll(READ_EVERY_S * 1000)):
            self.catch_up()
            if self._noted is not None and not self._noted.is_empty and time.monotonic() - woken_at >= READ_EVERY_S:
                woken_at = time.monotonic()
                self._noted.wake()

    def _take_in(self, events: TaskEvents) -> None:
        until_ns, records, lost = events.read()
        lineage, noted = self._lineage, self._noted
        for at_ns, kind, pid, number, text, file in records:
            if kind == MAPPED:
                life, is_program = lineage.map(pid, text)
                if noted is not None and file not in noted.ordinary and life is not None and not noted.homes.isdisjoint(life.namespaces):
                    noted.take(life, text, file, is_private=bool(number), is_program=is_program)
            elif kind == FORKED:
                if text:
                    self._threaded.add(pid)
                else:
                    self._forget_threads(pid)
                    lineage.fork(pid, number, at_ns)
            elif kind == ENDED:
                if not text or pid in self._headless:
                    self._end(pid, at_ns)
            elif kind == NAMED:
                self._forget_threads(pid)
                lineage.execute(pid, text, at_ns)
            elif kind == JOINED:
                self._join(pid, number, thread=int(text or 0))
        lineage.forget(until_ns)
        self._is_lost |= lost
        if lost and noted is not None:
            noted.lose()
        if self._is_lost and until_ns - self._seeded_ns > SEED_AGAIN_NS:
            self._seed()

    def _end(self, pid: int, at_ns: int) -> None:
        """A process ends with the last of its threads."""
        if pid in self._threaded and processes.lives_on(pid):
            self._headless.add(pid)
        else:
            self._forget_threads(pid)
            self._lineage.end(pid, at_ns)

    def _forget_threads(self, pid: int) -> None:
        self._threaded.discard(pid)
        self._headless.discard(pid)

    def _join(self, pid: int, namespace: int, *, thread: int) -> None:
        if not thread:
            self._lineage.join(pid, namespace)
        elif self._noted is not None:
            life = self._lineage.find_last(pid)
            if life is not None and namespace != life.namespaces[-1] and not self._noted.homes.isdisjoint(life.namespaces):
                self._noted.stray(life, thread)

    def _seed(self) -> None:
        """Who runs now. What is noted meanwhile comes later, and replaces what is listed here."""
        self._seeded_ns = now_ns()
        self._is_lost = False
        self._threaded.clear()
        self._headless.clear()
        self._lineage.lose(self._seeded_ns)
        for name in os.listdir("/proc"):
            if name.isdigit():
                self._seed_one(int(name))
        self._lineage.link()

    def _seed_one(self, pid: int) -> None:
        proc = Path("/proc") / str(pid)
        try:
            parent_pid, started_ticks = processes.read_stat(proc)
            thread = find_thread(pid)
            if thread is None:
                return
            shown = Path("/proc") / str(thread)
            executable, namespace = read_link(os.fsencode(shown / "exe")), os.stat(shown / "ns" / "mnt").st_ino
        except (OSError, ValueError, IndexError, Headless):
            return
        self._threaded.add(pid)
        if thread != pid:
            self._headless.add(pid)
        self._lineage.seed(pid, parent_pid, (started_ticks + 1) * TICK_NS, executable, namespace)


def _describe_life(life: Life) -> Process:
    _ask(life)
    return Process(
        pid=life.pid,
        parent_pid=life.parent_pid,
        executable=life.executable,
        arguments=life.arguments,
        started_ticks=life.started_ns // TICK_NS,
        root_device=life.root_device,
        name=life.name,
        parents=life.ancestors or processes.find_ancestors(life.pid, life.parent_pid),
        uid=life.uid,
        started_at=processes.unix_time(life.started_ns),
        has_exited=life.ended_ns is not None,
    )


def _ask(life: Life) -> None:
    """What the process says of itself, if it is still there; it is the same as long as its time of birth is."""
    if life.ended_ns is not None or life.arguments:
        return
    proc = Path("/proc") / str(life.pid)
    try:
        if abs(processes.read_stat(proc)[1] - life.started_ns // TICK_NS) > _SLACK_TICKS:
            return
        with (proc / "cmdline").open("rb") as file:
            said = file.read(_ARGUMENT_BYTES)
        uid, device = processes.read_uid(proc), root_device(life.pid)
        if abs(processes.read_stat(proc)[1] - life.started_ns // TICK_NS) > _SLACK_TICKS:
            return
    except (OSError, ValueError, IndexError, StopIteration):
        return
    life.arguments = tuple(said.rstrip(b"\0").split(b"\0")) if said else ()
    life.uid, life.root_device = uid, device if device is not None else life.root_device
