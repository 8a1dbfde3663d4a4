"""What the node's flow needs from this host, and the type of what its workers bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from intact.model.container import Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.finding import Finding
from intact.model.layer import Baseline, Record
from intact.model.observation import Observation, Unobserved
from intact.model.seam import PlannedLevel
from intact.observe.settled import Settled

HandIn = Callable[[Callable[[float], None]], None]
"""From any thread: has something done on the flow's thread in its next turn, with the steady time of then."""


class LayerEyes(Protocol):
    """How read-only layers are looked at: the observe stage on this host."""

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: Settled | None = None
    ) -> Iterator[Record | Unobserved]:
        """What one read-only layer holds on disk; throttled. Of what is `settled`, only what may have changed since is read. Raises
        InputError or OSError where it cannot be read."""

    def read_files(
        self, running: Running, directory: bytes, paths: frozenset[bytes], algorithms: Algorithms = SHA256, settled: Settled | None = None
    ) -> list[Record | Unobserved]:
        """The same of `paths` alone, sorted."""

    def list_executed(self, running: Running) -> frozenset[bytes]:
        """What of its overlay the container's processes execute now, or map to execute; as far as they may be looked at."""


class Eyes(LayerEyes, Protocol):
    """How a container is looked at."""

    def look(
        self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: tuple[PlannedLevel, ...] = ()
    ) -> Observation | None:
        """The writable layer, or only `paths` of it; None if there is no such layer any more. `levels`: what is told besides what the
        default rules tell, so that it is listed and read."""

    def can_look(self, running: Running) -> bool:
        """Whether the writable layer is still there."""

    def date(
        self, running: Running, baseline: Baseline, findings: tuple[Finding, ...], known: Mapping[str, Finding]
    ) -> tuple[Finding, ...]:
        """`findings` with the moments at which they were made, `known` being those that were dated before, by id."""


class Baselines(Protocol):
    """Where this node's baselines come from; may take seconds, called from a worker thread."""

    def obtain(self, running: Running) -> Baseline:
        """Raises IntactError with the reason why this container has no baseline."""

    def withdraw(self, roots: frozenset[Digest]) -> None:
        """Baselines of these roots that came from the cluster are not given out any more."""

    def is_withdrawn(self, baseline: Baseline) -> bool: ...
