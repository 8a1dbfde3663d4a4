"""A real rsyslogd receives alerts and parses what is in them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from intact.adapters.sinks.syslog import MAX_MESSAGE_BYTES, SD_ID, SyslogSink, format_alert, frame, parse_address
from intact.model.alert import Alert, AlertKind, AlertPath
from intact.model.errors import InputError, TemporaryError
from intact.model.finding import Level
from intact.model.incident import Workload

CONFIGURATION = """
global(workDirectory="{directory}")
module(load="imtcp")
module(load="mmpstrucdata")
template(name="parsed" type="list" option.jsonf="on") {{
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
  property(outname="data" name="$!rfc5424-sd" format="jsonf")
}}
ruleset(name="in") {{
  action(type="mmpstrucdata" sd_name.lowercase="off")
  action(type="omfile" file="{directory}/received" template="parsed")
}}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="in")
"""
PATH = AlertPath(
    path=b"/usr/sbin/nginx",
    change="Modified",
    level=Level.HIGH,
    expected="sha256:00 0755 0:0",
    actual="sha256:11 4755 0:0",
    pod="shop/web-1",
    node="n1",
    container="nginx",
    process="",
    at=1.0,
)
ALERT = Alert(
    id="a1",
    kind=AlertKind.OPENED,
    at=1_800_000_000.25,
    level=Level.CRITICAL,
    summary="Deployment shop/web differs from its image: 1 finding; Modified /usr/sbin/nginx",
    incident_id="i1",
    workload=Workload(kind="Deployment", namespace="shop", name="web"),
    cause="Container",
    policy="shop/web",
    count=1,
    pods=("web-1",),
    nodes=("n1",),
    paths=(PATH,),
    paths_total=1,
)


@dataclass(frozen=True)
class Collector:
    """An rsyslogd of the test's own."""

    directory: Path
    port: int

    def start(self) -> subprocess.Popen[bytes]:
        arguments = ["rsyslogd", "-n", "-f", str(self.directory / "rsyslog.conf"), "-i", str(self.directory / "pid")]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=(self.directory / "stderr").open("wb"))
        wait_for(lambda: self._answers() or process.poll() is not None)
        assert process.poll() is None, (self.directory / "stderr").read_text()
        return process

    def received(self, count: int) -> list[dict[str, Any]]:
        file = self.directory / "received"
        wait_for(lambda: file.exists() and file.read_bytes().count(b"\n") >= count)
        messages = [json.loads(line) for line in file.read_text().split("\n") if line]
        return [message | {"data": json.loads(message["data"])} for message in messages]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def wait_for(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    assert shutil.which("rsyslogd"), "no rsyslogd: `make tools` installs it"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (tmp_path / "rsyslog.conf").write_text(CONFIGURATION.format(directory=tmp_path, port=port))
    return Collector(directory=tmp_path, port=port)


@pytest.fixture
def running(collector: Collector) -> Iterator[Collector]:
    process = collector.start()
    try:
        yield collector
    finally:
        stop(process)


@pytest.fixture
def sink(collector: Collector) -> Iterator[SyslogSink]:
    sink = SyslogSink("127.0.0.1", collector.port, hostname="host.example", timeout_s=5)
    yield sink
    sink.close()


def test_every_field_arrives_as_it_was_sent(running: Collector, sink: SyslogSink) -> None:
    sink.send(ALERT)
    (message,) = running.received(1)
    assert (message["severity"], message["facility"], message["host"], message["app"]) == ("crit", "13", "host.example", "intact")
    assert message["id"] == "IncidentOpened" and message["time"].startswith("2027-01-15T08:00:00.25")
    assert message["text"].removeprefix("\ufeff") == ALERT.summary
    data = message["data"][SD_ID]
    assert data["alert"] == "a1" and data["incident"] == "i1" and data["level"] == "Critical" and data["workload"] == "web"
    assert (data["path1"], data["change1"]) == ("/usr/sbin/nginx", "Modified")
    assert (data["expected1"], data["actual1"]) == ("sha256:00 0755 0:0", "sha256:11 4755 0:0")


HOSTILE = b'/tmp/"] <14>1 - - - - - forged\n<14>1 - - - - [intact@32473 level="Info"]\\\r\x00\x1b[2J\xff\xe2\x80\xae'


def test_a_hostile_path_can_neither_forge_a_message_nor_a_parameter(running: Collector, sink: SyslogSink) -> None:
    sink.send(replace(ALERT, paths=(replace(PATH, path=HOSTILE),), summary=HOSTILE.decode("latin-1")))
    sink.send(replace(ALERT, id="a2"))
    first, second = running.received(2)
    assert second["data"][SD_ID]["alert"] == "a2"
    data = first["data"][SD_ID]
    assert data["level"] == "Critical"
    assert data[
        "path1"
    ] == '/tmp/"] <14>1 - - - - - forged\\n<14>1 - - - - [intact@32473 level="Info"]\\\\r\\x00\\x1b[2J\\xff\\u202e'.replace(
        "\\\\r", "\\\\r"
    )
    assert len(running.received(2)) == 2


def test_an_alert_of_any_size_stays_one_message(running: Collector, sink: SyslogSink) -> None:
    long = replace(PATH, path=b"/" + "é".encode() * 2000, expected="x" * 5000)
    huge = replace(ALERT, paths=(long,) * 20, pods=tuple(f"web-{n}" for n in range(5000)), reason="r" * 100_000, summary="s" * 100_000)
    assert len(format_alert(huge, hostname="h", app_name="intact", process_id=1)) <= MAX_MESSAGE_BYTES
    sink.send(huge)
    sink.send(ALERT)
    first, second = running.received(2)
    assert first["data"][SD_ID]["cut"] == "true" and second["data"][SD_ID]["alert"] == "a1"


def test_a_collector_that_was_restarted_gets_the_next_alert(collector: Collector, sink: SyslogSink) -> None:
    with pytest.raises(TemporaryError, match="did not take an alert"):
        sink.send(ALERT)
    process = collector.start()
    sink.send(ALERT)
    collector.received(1)
    stop(process)
    with pytest.raises(TemporaryError):
        sink.send(replace(ALERT, id="a2"))
    process = collector.start()
    try:
        sink.send(replace(ALERT, id="a3"))
        assert [message["data"][SD_ID]["alert"] for message in collector.received(2)] == ["a1", "a3"]
    finally:
        stop(process)


def test_the_length_counts_bytes() -> None:
    assert frame("é".encode()) == b"2 \xc3\xa9"


@pytest.mark.parametrize(
    ("text", "address"), [("tcp://log.example:514", ("log.example", 514)), ("[::1]:6514", ("::1", 6514)), ("h:1", ("h", 1))]
)
def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "udp://h:514", "h:0", "h:70000", "h:514/x", "a b:1:2"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected tcp://HOST:PORT"):
        parse_address(text)
