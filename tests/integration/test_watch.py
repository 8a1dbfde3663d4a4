"""`intact watch` on a real containerd: what it sees, what survives its death, whom it tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import images, oci
from lab.runtime import Runtime
from tests.integration.test_syslog_rsyslog import Collector, collector, running
from tests.integration.watching import Watching, intact, recorded

__all__ = ["collector", "running"]  # fixtures

NAME = "docker.io/local/watched:1"
FILES = {
    b"/srv/app/page.html": b"<h1>shop</h1>\n",
    b"/srv/app/main.sh": b"#!/bin/sh\necho shop\n",
    b"/srv/app/settings": b"debug=no\n",
    b"/srv/app/plugins/one": b"one\n",
    b"/srv/cache/index": b"empty\n",
}

TAMPERINGS = {
    "a file is added": ("echo bad > /srv/app/shell.php", "/srv/app/shell.php", "Added"),
    "a file is modified": ("echo evil >> /srv/app/main.sh", "/srv/app/main.sh", "Modified"),
    "a program is replaced, size and time kept": (
        "cp -p /srv/app/page.html /tmp/p; sed -i s/shop/sh0p/ /srv/app/page.html; touch -r /tmp/p /srv/app/page.html",
        "/srv/app/page.html",
        "Modified",
    ),
    "a setuid bit is set": ("chmod u+s /bin/busybox", "/bin/busybox", "Metadata"),
    "an owner is changed": ("chown 65534 /srv/app/settings", "/srv/app/settings", "Metadata"),
    "a file is deleted": ("rm /srv/app/plugins/one", "/srv/app/plugins/one", "Deleted"),
    "a file becomes a link": ("ln -sf /tmp/passwd /etc/passwd", "/etc/passwd", "Type"),
}


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    image = images.busybox_image(tmp_path_factory.mktemp("watched"), NAME, files=FILES)
    runtime.import_image(image)
    return image


@contextlib.contextmanager
def container(runtime: Runtime, id: str) -> Iterator[str]:
    runtime.run(NAME, id)
    try:
        yield id
    finally:
        runtime.stop(id)


def tamper(runtime: Runtime, id: str, script: str) -> None:
    runtime.exec(id, ["sh", "-c", script])


def recorded_paths(state: Path) -> list[str]:
    return [leaf["body"]["path"] for leaf in recorded(state, "Finding")]


def test_each_kind_of_tampering_is_told_with_expected_and_actual(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    with container(runtime, "kinds"), Watching(runtime.address, tmp_path / "state") as watch:
        assert watch.hear_verdict("kinds")["state"] == "Intact"
        for what, (script, path, change) in TAMPERINGS.items():
            tamper(runtime, "kinds", script)
            told = watch.hear_finding(path)
            assert told["change"] == change, what
            assert told["container"]["name"] == "kinds" and told["container"]["image"] == NAME
            assert (told["expected"] is None) == (change == "Added") and (told["actual"] is None) == (change == "Deleted"), what
            assert told["expected"] != told["actual"], what
        tamper(runtime, "kinds", "touch /bin/busybox /etc/group")
        assert not [line for line in watch.hear_for(1.5) if line.get("path") == "/etc/group"], "only its time has changed"


def test_a_container_that_starts_later_is_watched_from_its_start(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    with Watching(runtime.address, tmp_path / "state") as watch:
        with container(runtime, "first"):
            watch.hear_verdict("first")
        runtime.run(NAME, "later", ["sh", "-c", "echo bad > /srv/app/dropped.sh; sleep 1d"])
        try:
            assert watch.hear_finding("/srv/app/dropped.sh")["container"]["id"] == "later"
        finally:
            runtime.stop("later")


def test_what_a_killed_watch_did_not_see_is_found_once_and_the_gap_is_told(
    runtime: Runtime, image: oci.ImageLayout, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with container(runtime, "survivor"):
        with Watching(runtime.address, state) as watch:
            watch.hear_verdict("survivor")
            tamper(runtime, "survivor", "echo bad > /srv/app/before.php")
            watch.hear_finding("/srv/app/before.php")
            tamper(runtime, "survivor", "echo bad > /srv/app/amid.php")
            assert watch.end(signal.SIGKILL) == -signal.SIGKILL
        tamper(runtime, "survivor", "echo bad > /srv/app/while.php; rm /srv/app/plugins/one")
        (state / "node" / "alive").write_text(f"{time.time() - 600:.3f}\n")  # as if it had been dead for ten minutes
        with Watching(runtime.address, state) as watch:
            for path in ("/srv/app/amid.php", "/srv/app/while.php", "/srv/app/plugins/one"):
                watch.hear_finding(path)
            tamper(runtime, "survivor", "echo bad > /srv/app/after.php")
            watch.hear_finding("/srv/app/after.php")
    paths = recorded_paths(state)
    expected = {f"/srv/app/{name}.php" for name in ("before", "amid", "while", "after")} | {"/srv/app/plugins/one"}
    assert set(paths) == expected, "nothing is lost"
    assert len(paths) == len(expected), "and nothing is recorded twice"
    assert len(recorded(state, "IncidentOpened")) == 1, "it is still the same incident"
    (gap,) = recorded(state, "Gap")
    assert "nothing watched this node" in json.dumps(gap)
    export = tmp_path / "export"
    assert intact("audit", "export", "--state", state, "-o", export).returncode == 0
    assert intact("audit", "verify", export, "--key", state / "audit.pub").returncode == 0


POLICY = """
apiVersion: intact.dev/v1alpha1
kind: ClusterIntegrityPolicy
metadata: {name: host}
spec:
  expect:
    - {paths: ["/srv/cache/**"], reason: a cache}
  levels:
    - {paths: ["/srv/app/**"], level: Critical}
"""
OTHER_POLICY = """
apiVersion: intact.dev/v1alpha1
kind: IntegrityPolicy
metadata: {name: elsewhere, namespace: elsewhere}
spec: {mode: "Off"}
"""


def test_alerts_by_two_policies_reach_a_real_syslog_server(
    runtime: Runtime, image: oci.ImageLayout, running: Collector, tmp_path: Path
) -> None:
    files = [tmp_path / "host.yaml", tmp_path / "elsewhere.yaml"]
    for file, text in zip(files, (POLICY, OTHER_POLICY), strict=True):
        file.write_text(text)
    options = [f"--policy={file}" for file in files]
    with (
        container(runtime, "alerting"),
        Watching(runtime.address, tmp_path / "state", *options, f"--syslog=tcp://127.0.0.1:{running.port}") as watch,
    ):
        watch.hear_verdict("alerting")
        tamper(runtime, "alerting", "echo more >> /srv/cache/index")
        watch.hear_finding("/srv/cache/index")
        tamper(runtime, "alerting", "echo bad > /srv/app/shell.php")
        opened = running.received(1)[0]
        assert opened["app"] == "intact" and opened["id"] == "IncidentOpened" and opened["severity"] == "crit"
        (data,) = (value for name, value in opened["data"].items() if name.startswith("intact@"))
        assert data["path1"] == "/srv/app/shell.php" and data["level"] == "Critical" and data["workload"] == "alerting"
        assert "/srv/cache" not in json.dumps(running.received(1)), "what a policy expects raises no alert"


def test_a_syslog_server_that_was_away_gets_the_alert_later(
    runtime: Runtime, image: oci.ImageLayout, collector: Collector, tmp_path: Path
) -> None:
    state, option = tmp_path / "state", f"--syslog=tcp://127.0.0.1:{collector.port}"
    with container(runtime, "unheard"):
        with Watching(runtime.address, state, option) as watch:
            watch.hear_verdict("unheard")
            tamper(runtime, "unheard", "echo bad > /srv/app/shell.php")
            watch.hear_finding("/srv/app/shell.php")
        server = collector.start()
        try:
            with Watching(runtime.address, state, option):
                assert collector.received(1)[0]["id"] == "IncidentOpened"
            assert [message["id"] for message in collector.received(1)].count("IncidentOpened") == 1
        finally:
            server.terminate()
            server.wait(20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: ClusterIntegrityPolicy\nmetadata: {name: x}\nspec: {mood: Observe}\n", "spec.mood"),
        (POLICY.replace("Critical", "Terrible"), "spec.levels[0].level"),
        ("kind: [", "cannot be read as YAML"),
        ("- a\n- b\n", "expected one YAML mapping"),
        ("kind: Deployment\nmetadata: {name: x}\n", "is not a kind of policy"),
    ],
)
def test_an_invalid_policy_is_refused_before_anything_starts(runtime: Runtime, tmp_path: Path, text: str, said: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    done = intact("watch", "--socket", runtime.address, "--state", tmp_path / "state", "--policy", policy)
    assert done.returncode == 10 and said in done.stderr and "policy.yaml" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--syslog", "udp://127.0.0.1:514"), "tcp://HOST:PORT"),
        (("--webhook", "ftp://127.0.0.1/"), "https://HOST/PATH"),
        (("--policy", "/nonexistent/policy.yaml"), "/nonexistent/policy.yaml"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_what_to_write(
    runtime: Runtime, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = intact("watch", "--socket", runtime.address, "--state", tmp_path / "state", *options)
    assert done.returncode == 10 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_no_runtime_is_an_error_that_says_what_to_name(root: None, tmp_path: Path) -> None:
    absent = intact("watch", "--socket", tmp_path / "no.sock", "--state", tmp_path / "state")
    assert absent.returncode == 10 and "no.sock" in absent.stderr and "name the socket" in absent.stderr
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))  # nobody listens
        silent = intact("watch", "--socket", tmp_path / "deaf.sock", "--state", tmp_path / "state")
    assert silent.returncode == 12 and "deaf.sock" in silent.stderr and "is it running?" in silent.stderr
    assert "Traceback" not in silent.stderr


def test_the_state_is_the_owners_alone(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with container(runtime, "private"), Watching(runtime.address, state / "inner") as watch:
        watch.hear_verdict("private")
    secrets = [path for path in (state / "inner").rglob("*") if path.suffix == ".pem"]
    assert secrets and all(os.stat(path).st_mode & 0o077 == 0 for path in secrets)
