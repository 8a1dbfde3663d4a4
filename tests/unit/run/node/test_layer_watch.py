"""What a node says of a container's read-only layers while they are being read, and afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from intact.model.container import Running
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.finding import State
from intact.model.layer import Record
from intact.model.observation import Scope, Unobserved
from intact.model.seam import Coverage, Report
from intact.run.node.flow import NodeFlow
from tests.unit.run.node.fakes import WEB, Bell, Eyes, Shelf
from tests.unit.seam_contract import wait_until
from tests.unit.trees import file, image

APP, DATA = file(b"/app", b"program"), file(b"/data", b"data" * 100)
IMAGE = image(APP, DATA)


class Tampered(Eyes):
    """The program that runs is another on disk; the rest of its layer is not read before `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def list_executed(self, running: Running) -> frozenset[bytes]:
        return frozenset({APP.path})

    def read_files(
        self, running: Running, directory: bytes, paths: frozenset[bytes], algorithms: Algorithms = SHA256, settled: object = None
    ) -> list[Record | Unobserved]:
        return [self._found(record) for record in IMAGE.layers[0].scan() if record.path in paths]

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: object = None
    ) -> Iterator[Record | Unobserved]:
        assert self.go_on.wait(60)
        yield from map(self._found, IMAGE.layers[0].scan())

    def _found(self, record: Record) -> Record:
        if record.path != APP.path or record.entry is None:
            return record
        return replace(record, entry=replace(record.entry, digest=Digest.of(b"another")))


def test_a_program_that_differs_is_told_while_the_rest_of_its_layer_is_not_verified_yet() -> None:
    eyes, reports, now = Tampered(), list[Report](), 1000.0
    flow = NodeFlow(
        node="node-1",
        list_running=lambda: [WEB],
        runtime_changed=lambda: False,
        doorbell=Bell(),
        eyes=eyes,
        baselines=Shelf(IMAGE),
        send=reports.append,
        clock=lambda: now,
        steady=lambda: now,
    )

    def step_until(holds: Callable[[Coverage], bool]) -> Coverage:
        found: list[Coverage] = []

        def is_said() -> bool:
            nonlocal now
            now += 1.0
            flow.step()
            found[:] = [one for report in reports for one in report.coverage or ()][-1:]
            return bool(found) and holds(found[0])

        wait_until(is_said, 60)
        return found[0]

    try:
        said = step_until(lambda one: one.verdict == "Drifted")
        assert (said.layers_verified_at, said.layers_unverified_bytes) == (0.0, DATA.size_bytes)
        (verdict,) = [one for report in reports for one in report.verdicts if one.scope is Scope.LAYERS]
        assert [finding.difference.path for finding in verdict.findings] == [APP.path]
        eyes.go_on.set()
        said = step_until(lambda one: one.layers_unverified_bytes == 0)
        assert said.verdict == "Drifted" and said.layers_verified_at > 0
        last = [one for report in reports for one in report.verdicts if one.scope is Scope.LAYERS][-1]
        assert (last.state, len(last.findings)) == (State.DRIFTED, 1)
    finally:
        eyes.go_on.set()
