"""The sender: whatever happens to the controller, each report is counted once in the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from intact.adapters.keys.tls import CA_CERTIFICATES, DirectoryStore, ensure_serving
from intact.adapters.seam import sender as sending
from intact.adapters.seam.https import Endpoint, HttpsCluster
from intact.adapters.seam.ports import FORGED, UNAUTHENTICATED, UNTRUSTED_SERVER
from intact.adapters.seam.sender import Sender
from intact.adapters.seam.spool import Spool
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, PermanentError, TemporaryError, TrustError
from intact.model.seam import Command, Plan, Report
from tests.unit.seam_contract import NODE, FileCluster, make_report, wait_until
from tests.unit.served import SERVER_NAME


@dataclass
class Moody:
    """A cluster that answers each submission with the next of `moods`, then takes everything."""

    moods: list[IntactError] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    def submit(self, report: Report) -> None:
        if self.moods:
            raise self.moods.pop(0)
        self.taken.append(report.id)

    def fetch_plan(self, etag: str) -> Plan | None:
        return None

    def fetch_baseline(self, key: Digest) -> bytes | None:
        return None

    def fetch_commands(self, wait_s: float) -> tuple[Command, ...]:
        return ()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", time.time)
    for n in range(3):
        spool.append(make_report(f"r{n}"))
    return spool


@pytest.mark.parametrize(
    "mood",
    [
        TemporaryError("away"),
        PermanentError("not found", code="BadAnswer"),
        TrustError("token expired", code=UNAUTHENTICATED),
        TrustError("another CA", code=UNTRUSTED_SERVER),
        TrustError("this account may not", code="Forbidden"),
    ],
)
def test_what_can_be_mended_at_the_ends_keeps_the_report(spool: Spool, mood: IntactError) -> None:
    cluster = Moody([mood, mood])
    sender = Sender(spool, cluster)
    assert not sender.send_oldest(0)
    assert not sender.send_oldest(0)
    assert sender.delivery.failing == str(mood)
    while sender.send_oldest(0):
        pass
    assert cluster.taken == ["r0", "r1", "r2"]
    assert not sender.delivery.failing
    assert spool.pending_gap() is None


@pytest.mark.parametrize("mood", [InputError("not a Report"), TrustError("another node's", code=FORGED)])
def test_what_the_report_itself_is_at_fault_for_is_set_aside_and_told(spool: Spool, tmp_path: Path, mood: IntactError) -> None:
    cluster = Moody([mood])
    sender = Sender(spool, cluster)
    while sender.send_oldest(0):
        pass
    assert cluster.taken == ["r1", "r2"]
    assert sender.delivery.refused == 1
    assert [p.suffix for p in (tmp_path / "spool").iterdir()] == [".refused"]
    gap = spool.pending_gap()
    assert gap is not None
    assert str(mood) in gap.reason


def test_a_dead_cluster_is_asked_less_and_less_often(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_S", 0.05)
    cluster = Moody([TemporaryError("away")] * 1000)
    sender = Sender(spool, cluster)
    sender.start()
    time.sleep(1.5)
    sender.stop()
    assert 3 <= 1000 - len(cluster.moods) <= 8
    assert len(spool) == 3


CONTROLLER = """
import sys, time
from pathlib import Path
from tests.unit.served import Served
served = Served(Path(sys.argv[1]), port=int(sys.argv[2]))
print("up", flush=True)
time.sleep(600)
"""


def test_a_controller_killed_again_and_again_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "tls")
    ensure_serving(store, (SERVER_NAME,), time.time())
    (tmp_path / "token").write_text(f"agent:{NODE}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = Endpoint(
        url=f"https://127.0.0.1:{port}", server_name=SERVER_NAME, ca_file=store.current / CA_CERTIFICATES, token_file=tmp_path / "token"
    )
    spool = Spool(tmp_path / "spool", time.time)
    sender = Sender(spool, HttpsCluster(endpoint, NODE, time.time))
    sender.start()
    total = 0
    try:
        for _ in range(4):
            controller = subprocess.Popen(
                [sys.executable, "-c", CONTROLLER, str(tmp_path), str(port)],
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[4],
                env={**os.environ, "PYTHONPATH": "."},
            )
            assert controller.stdout is not None
            assert controller.stdout.readline() == b"up\n"
            delivered = sender.delivery.delivered
            for _ in range(60):
                spool.append(make_report(f"r{total}", findings=5))
                total += 1
            wait_until(lambda delivered=delivered: sender.delivery.delivered > delivered + 10)  # type: ignore[misc]
            if total < 240:
                controller.send_signal(signal.SIGKILL)
                controller.wait()
        wait_until(lambda: len(spool) == 0, timeout_s=60)
        controller.kill()
        controller.wait()
    finally:
        sender.stop()
        spool.close()
    lines = (tmp_path / "reports").read_bytes().splitlines()
    assert len(lines) == total
    stored = FileCluster(tmp_path / "reports")
    assert list(stored.reports) == [f"r{n}" for n in range(total)]
    assert len(stored.findings) == total * 5
