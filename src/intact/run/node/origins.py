"""Where added code comes from, found out in the background: what is known is used at once, the rest is told when it is known.

One batch for a container at a time, on one thread. A look whose differences wait for an answer says nothing of those paths, and is not the
last word on the container; what else it found is told without delay.

Who writes another content whenever the last one was looked into would wait for ever: an answer about what is not there any more is lost,
and after some lost ones what is not known of the container is told as such.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

from intact.model.container import Running
from intact.model.derivation import Derivation, Proof
from intact.model.entry import Entry
from intact.model.finding import Difference, State, Verdict
from intact.model.layer import Baseline
from intact.observe.derive import Deriver, is_bytecode

BATCH = 100
"""Files looked into before it is another container's turn."""
MOST_LOST = 5
LOST_S = 600.0
"""After so many lost answers in this time nothing of a container is waited for. Services write what they unpack or compile once."""
ADDED, LIBRARIES, PAST = "added", "libraries", "past"
"""What is asked about: the code that was added, what of it is mapped, or was."""

_RESTLESS = Derivation(proof=Proof.UNKNOWN, reason="changes before it can be looked into")

Answers = Callable[[], object]
Then = Callable[[Answers], None]


@dataclass(frozen=True, slots=True)
class Weighed:
    """`derivations` by path; about the paths in `waiting` it is being found out."""

    derivations: dict[bytes, Derivation] = field(default_factory=dict)
    waiting: frozenset[bytes] = frozenset()


class Origins:
    """`weigh` and `close` are for the flow's thread. `steady`: seconds since whenever, that nobody can set."""

    def __init__(self, deriver: Deriver, steady: Callable[[], float] = time.monotonic) -> None:
        self._deriver, self._steady = deriver, steady
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="origins")
        self._busy: set[tuple[str, str]] = set()
        self._asked: dict[str, tuple[Entry, ...]] = {}
        self._lost: dict[str, deque[float]] = {}

    def prepare(self, baseline: Baseline) -> Baseline:
        """Takes note of an image; from any thread."""
        self._deriver.prepare(baseline)
        return baseline

    def weigh(
        self,
        running: Running,
        baseline: Baseline,
        entries: Sequence[Entry],
        then: Then,
        *,
        topic: str = ADDED,
        paths: frozenset[bytes] | None = None,
    ) -> Weighed:
        """What is known of `entries`. If something is not: `then` is called from another thread as soon as more is known, with a function
        that raises what nobody expected; of a container that is waited for already, only the batch that is under way calls. Those of one
        `topic` do not wait for those of another. `paths`: all that was looked at, None for everything."""
        container_id = running.container.id
        if topic == ADDED and (container_id, topic) not in self._busy:
            self._note_lost(container_id, entries, paths)
        if not entries:
            return Weighed()
        known, unknown = self._deriver.recall(baseline, entries)
        if unknown and len(self._lost.get(container_id, ())) >= MOST_LOST:
            return Weighed(known | {entry.path: _RESTLESS for entry in unknown})
        if unknown and (container_id, topic) not in self._busy:
            self._busy.add((container_id, topic))
            batch = choose_batch(unknown)
            if topic == ADDED:
                self._asked[container_id] = batch
            work = self._worker.submit(self._deriver.establish, running, baseline, batch)
            work.add_done_callback(lambda done: None if done.cancelled() else then(done.result))
        return Weighed(known, frozenset(entry.path for entry in unknown))

    def _note_lost(self, container_id: str, entries: Sequence[Entry], paths: frozenset[bytes] | None) -> None:
        """Whether what was answered last is still there: `entries` are those of a look at `paths` that follows an answer."""
        now = self._steady()
        there = {(entry.path, entry.digest) for entry in entries}
        lost = self._lost.get(container_id, deque(maxlen=MOST_LOST))
        while lost and now - lost[0] >= LOST_S:
            lost.popleft()
        asked = self._asked.pop(container_id, ())
        if any((entry.path, entry.digest) not in there for entry in asked if paths is None or entry.path in paths):
            lost.append(now)
        if left := tuple(entry for entry in asked if paths is not None and entry.path not in paths):
            self._asked[container_id] = left
        if lost:
            self._lost[container_id] = lost
        else:
            self._lost.pop(container_id, None)

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        self._asked.pop(container_id, None)
        self._lost.pop(container_id, None)

    def finish(self, container_id: str, topic: str = ADDED) -> None:
        """What `then` brought was taken in."""
        self._busy.discard((container_id, topic))

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._deriver.close()


def choose_batch(unknown: Iterable[Entry]) -> tuple[Entry, ...]:
    """What is looked into first: no crowd of bytecode, which takes long, keeps other code waiting."""
    return tuple(islice(sorted(unknown, key=lambda entry: is_bytecode(entry.path)), BATCH))


def leave_out(differences: Iterable[Difference], waiting: frozenset[bytes]) -> tuple[Difference, ...]:
    """The differences that can be judged now."""
    return tuple(difference for difference in differences if difference.path not in waiting)


def keep_waiting(before: Verdict | None, verdict: Verdict, waiting: frozenset[bytes]) -> Verdict:
    """`verdict` with what was found before at the paths of which nothing is said now."""
    kept = tuple(one for one in before.findings if one.difference.path in waiting) if before is not None and waiting else ()
    return replace(verdict, state=State.DRIFTED, findings=verdict.findings + kept) if kept else verdict
