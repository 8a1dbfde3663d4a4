"""The read-only layers of the watched containers: when they are read, and what is told of what was found in them.

In: containers with a baseline, and the directories that rang. Out: verdicts, told. The reading itself goes on in the background
(`layer_reader`); this is for the flow's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from intact.compare.judge import judge_layers
from intact.model.layer import Baseline
from intact.model.observation import Unobserved

from .layer_reader import EVERY_S, LayerReader, Reading
from .ports import HandIn
from .reporting import Reporter
from .roster import Roster
from .watched import Watched, merge


class LayerWatch:
    """Owns of each container what is known of its layers: `layers`, `layers_read_at`, `count_unverified`, `is_reading_layers`,
    `read_layers_again`."""

    def __init__(self, reader: LayerReader, *, roster: Roster, reporter: Reporter, hand_in: HandIn, clock: Callable[[], float]) -> None:
        self._reader, self._roster, self._reporter, self._hand_in, self._clock = reader, roster, reporter, hand_in, clock

    def ring(self, directory: bytes) -> None:
        """Something below `directory` may have changed: it is read anew for everybody who uses it."""
        for watched in self._roster:
            if watched.running.mounted is not None and directory in watched.running.mounted.lowers:
                self._reader.touch(directory)
                self.verify(watched)

    def verify(self, watched: Watched) -> None:
        """Has the container's read-only layers read in the background; while that goes on, once more afterwards."""
        baseline, mounted, container_id = watched.baseline, watched.running.mounted, watched.running.container.id
        if baseline is None or mounted is None:
            return
        if len(mounted.lowers) != len(baseline.layers):
            reason = f"the runtime mounts {len(mounted.lowers)} read-only layers, the image has {len(baseline.layers)}"
            unread = Reading(differences=(), unobserved=(Unobserved(path=b"/", reason=reason),), at=self._clock())
            self._judge(watched, baseline, unread)
            return
        layers = tuple(zip(mounted.lowers, reversed(baseline.layers), strict=True))
        watched.count_unverified = lambda: self._reader.count_unverified(layers)
        if watched.is_reading_layers:
            watched.read_layers_again = True
        else:
            watched.is_reading_layers = True
            self._reader.submit(watched.running, layers, lambda found: self._hand_in(lambda _: self._take(container_id, baseline, found)))

    def verify_old(self, watched: Watched) -> None:
        """The same, if they were read too long ago, or in a future that the clock has left."""
        if watched.layers is not None and not 0 <= self._clock() - watched.layers.at < EVERY_S:
            self.verify(watched)

    def forget(self, directories: Iterable[bytes]) -> None:
        """No container uses them any more."""
        self._reader.forget(directories)

    def close(self) -> None:
        self._reader.close()

    def _take(self, container_id: str, baseline: Baseline, found: Reading | BaseException) -> None:
        """What was read, unless it was held against a baseline that counts no more."""
        if isinstance(found, BaseException):
            raise found
        watched = self._roster.get(container_id)
        if watched is None:
            return
        if found.paths is not None:
            if watched.baseline is baseline:
                self._judge_part(watched, baseline, found, found.paths)
            return
        watched.is_reading_layers = False
        if watched.baseline is baseline:
            self._judge(watched, baseline, found)
        if watched.read_layers_again:
            watched.read_layers_again = False
            self.verify(watched)

    def _judge_part(self, watched: Watched, baseline: Baseline, found: Reading, paths: frozenset[bytes]) -> None:
        """What is executed differs: that is told before the rest is read, of which nothing is known yet, or what was known before."""
        verdict = judge_layers(watched.running.container, baseline, found.differences, (), found.at)
        if verdict.findings:
            before = watched.layers
            verdict = replace(verdict, compared=len(paths), at=before.at if before is not None else found.at)
            watched.layers = merge(before, verdict, paths)
            self._reporter.tell(watched, watched.layers)

    def _judge(self, watched: Watched, baseline: Baseline, found: Reading) -> None:
        watched.layers = judge_layers(watched.running.container, baseline, found.differences, found.unobserved, found.at)
        watched.layers_read_at = found.at
        self._reporter.doubt_coverage()  # what is not verified is another figure now
        self._reporter.tell(watched, watched.layers)
