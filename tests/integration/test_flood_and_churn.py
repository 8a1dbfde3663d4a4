"""The node's half beside one container that changes without pause, and through the coming and going of many.

INTACT_CHURN=200 sets how many containers come and go; a run of all tests makes do with fewer.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.model.digest import Digest
from intact.model.observation import Scope
from intact.model.seam import Command, Coverage, Plan, Report
from intact.observe.flood import FloodGauge
from intact.run.node.baselines import NodeBaselines
from intact.run.node.eyes import HostEyes
from intact.run.node.process import NodeProcess
from intact.run.storage.keeping import open_own_key, open_store
from lab import images, layers
from lab.runtime import Runtime
from tests.integration.watching import Held, Watching

NAME = "docker.io/local/restless:1"
STORM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    char name[32];
    mkdir("/srv/storm", 0755);
    while (access("/srv/go", F_OK)) usleep(100000);
    for (int n = 0; n < 3; n++) if (!fork()) break;
    while (access("/srv/stop", F_OK))
        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof name, "/srv/storm/%d.%d", getpid(), i);
            close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644));
            unlink(name);
        }
    for (;;) pause();
}
"""
CHURN = int(os.environ.get("INTACT_CHURN", "12"))
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> str:
    work = tmp_path_factory.mktemp("restless")
    subprocess.run(["gcc", "-O2", "-static", "-x", "c", "-", "-o", work / "storm"], input=STORM, text=True, check=True)
    program = [layers.directory(b"/srv"), layers.file(b"/srv/run-storm", (work / "storm").read_bytes(), 0o755)]
    layout = images.busybox_image(work / "image", NAME, upper_layers=[program])
    runtime.import_image(layout)
    return NAME


def wait_for(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


class Listener:
    """Implements `adapters.seam.ports.Cluster`, and keeps what is reported."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def submit(self, report: Report) -> None:
        self.reports.append(report)

    def fetch_plan(self, etag: str) -> Plan | None:
        return None if etag else Plan(etag="1")

    def fetch_baseline(self, key: Digest) -> bytes | None:
        return None

    def fetch_commands(self, wait_s: float) -> tuple[Command, ...]:
        time.sleep(min(wait_s, 0.5))
        return ()

    def covered(self, id: str) -> Coverage | None:
        told = [one for report in self.reports for one in report.coverage or () if one.container.id == id]
        return told[-1] if told else None

    def is_seen(self, id: str) -> bool:
        covered = self.covered(id)
        return covered is not None and covered.verified_at > 0

    def reason(self, id: str) -> str:
        covered = self.covered(id)
        return covered.reason if covered is not None else ""

    def has_looked_at_what_runs(self, id: str) -> bool:
        return any(one.container.id == id and one.scope is Scope.LIVE for report in self.reports for one in report.verdicts)

    def has_found(self, id: str, path: bytes) -> bool:
        verdicts = [verdict for report in self.reports for verdict in report.verdicts if verdict.container.id == id]
        return any(finding.difference.path == path for verdict in verdicts for finding in verdict.findings)


@contextlib.contextmanager
def watched_by(socket: Path, state: Path, gauge: FloodGauge) -> Iterator[Listener]:
    listener, stop = Listener(), threading.Event()
    eyes = HostEyes(layer_rate_bytes_s=1 << 40)
    store = open_store(state / "baselines", open_own_key(state / "baselines" / "own"))
    baselines = NodeBaselines(store, socket=str(socket), read_layer=eyes.read_layer)
    process = NodeProcess(
        node="n1", socket=str(socket), state_dir=state / "node", eyes=eyes, baselines=baselines, send=listener.submit, gauge=gauge
    )
    thread = threading.Thread(target=process.run, args=(stop, listener))
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join()


def test_the_others_are_heard_beside_one_that_floods_and_it_too_when_it_is_quiet(runtime: Runtime, image: str, tmp_path: Path) -> None:
    """What counts as a flood is set low: a machine that is busy with other things changes nothing fast."""
    gauge = FloodGauge(flood_per_s=100, calm_per_s=10, quiet_s=3.0)
    runtime.run(image, "quiet")
    runtime.run(image, "loud", ["/srv/run-storm"])
    try:
        with watched_by(runtime.address, tmp_path, gauge) as listener:
            wait_for(lambda: listener.is_seen("quiet") and listener.is_seen("loud"), "they are not seen")
            runtime.exec("loud", ["touch", "/srv/go"])
            wait_for(lambda: listener.reason("loud").startswith("EventFlood"), "nobody says that it floods")
            for number in range(3):
                runtime.exec("quiet", ["sh", "-c", f"echo bad > /srv/shell{number}.php"])
                wait_for(lambda: listener.has_found("quiet", b"/srv/shell%d.php" % number), "the quiet one is not heard")  # noqa: B023
            assert listener.reason("loud").startswith("EventFlood") and "EventFlood" not in listener.reason("quiet")
            runtime.exec("loud", ["touch", "/srv/stop"])
            wait_for(lambda: "EventFlood" not in listener.reason("loud"), "all is quiet, and it is still a flood")
            runtime.exec("loud", ["sh", "-c", "echo bad > /srv/after.php"])
            wait_for(lambda: listener.has_found("loud", b"/srv/after.php"), "it is not heard any more")
            gaps = [gap.reason for report in listener.reports for gap in report.gaps]
    finally:
        runtime.stop("quiet")
        runtime.stop("loud")
    assert len([reason for reason in gaps if "EventFlood" in reason and "loud" in reason]) == 1, "told once"


def test_containers_come_and_go_and_none_is_missed_and_nothing_is_left(runtime: Runtime, image: str, tmp_path: Path) -> None:
    log = tmp_path / "state" / "watch.log"
    with Watching(runtime.address, tmp_path / "state") as watch:
        held: list[Held] = []
        for number in range(CHURN):
            id = f"churn{number}"
            runtime.run(image, id, ["sh", "-c", "echo bad > /srv/dropped.php; sleep 1d"])
            try:
                # The file may be found before it is written to, and then once more, be it when its container is gone.
                while watch.hear_finding("/srv/dropped.php")["container"]["id"] != id:
                    pass
            finally:
                runtime.stop(id)
            wait_for(lambda: log.read_text().count("container_gone") > len(held), id)
            held.append(watch.held())
    warm, last = held[CHURN // 3], held[-1]
    assert last.descriptors <= warm.descriptors + 2 and last.threads <= warm.threads + 1
    assert last.memory_bytes <= warm.memory_bytes + (8 << 20)
