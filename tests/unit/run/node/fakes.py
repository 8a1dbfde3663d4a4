"""A node without a host, for tests of its flow: implementations of its ports that say what they are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from intact.model.container import Mounted, Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.entry import Entry
from intact.model.errors import TemporaryError
from intact.model.finding import Finding
from intact.model.layer import Baseline, Record
from intact.model.observation import Observation, Unobserved
from intact.observe.ports import Rings, Tier, View
from tests.unit.trees import CONTAINER, file, image, seen

IMAGE = image(file(b"/app", b"as it was built"))
WEB = Running(container=CONTAINER, init_pid=1, mounted=Mounted(upper=b"/upper", lowers=(b"/lower",), device=1))


class Bell:
    """Implements `observe.ports.Doorbell`; never rings."""

    def start(self) -> Tier:
        return Tier(name="C", reason="of a test")

    def watch(self, directories: Iterable[bytes], view: View | None = None) -> Mapping[bytes, str]:
        return {}

    def forget(self, directories: Iterable[bytes]) -> None: ...

    def wait(self, timeout_s: float) -> Rings:
        return Rings()

    def catch_up(self, timeout_s: float) -> Rings:
        return self.wait(0.0)

    def close(self) -> None: ...


@dataclass
class Eyes:
    """Implements `run.node.ports.Eyes`: in the writable layer is what is `present`, in the read-only ones nothing."""

    present: tuple[Entry, ...] = ()

    def look(self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: object = ()) -> Observation | None:
        return seen(*self.present)

    def can_look(self, running: Running) -> bool:
        return True

    def date(
        self, running: Running, baseline: Baseline, findings: tuple[Finding, ...], known: Mapping[str, Finding]
    ) -> tuple[Finding, ...]:
        return findings

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
    ) -> Iterator[Record | Unobserved]:
        return iter(())

    def read_files(
        self, running: Running, directory: bytes, paths: frozenset[bytes], algorithms: Algorithms = SHA256, settled: object = None
    ) -> list[Record | Unobserved]:
        return []

    def list_executed(self, running: Running) -> frozenset[bytes]:
        return frozenset()


@dataclass
class Shelf:
    """Implements `run.node.ports.Baselines`: the same for every container, or none."""

    baseline: Baseline | None = IMAGE

    def obtain(self, running: Running) -> Baseline:
        if self.baseline is None:
            raise TemporaryError("the controller has none yet")
        return self.baseline

    def withdraw(self, roots: frozenset[Digest]) -> None: ...

    def is_withdrawn(self, baseline: Baseline) -> bool:
        return False
