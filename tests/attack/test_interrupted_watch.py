"""A watch that somebody stops for a while, or deafens: what was done meanwhile is found, and the time is told as a gap."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intact.run.node.process import STALLED, STALLED_S, UNHEARD, UNWATCHED
from lab import images
from lab.runtime import Runtime
from lab.watching import Line
from tests.integration.watching import Watching, recorded

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/interrupted:1"


def gaps(state: Path, reason: str) -> list[Line]:
    return [leaf["body"] for leaf in recorded(state, "Gap") if leaf["body"]["reason"] == reason]


def wait_gap(state: Path, reason: str) -> Line:
    deadline = time.monotonic() + 60
    while not (found := gaps(state, reason)):
        assert time.monotonic() < deadline, f"no gap: {reason}"
        time.sleep(0.5)
    return found[0]


def test_what_is_done_while_the_watch_is_stopped_is_found_and_the_gap_is_told(runtime: Runtime, tmp_path: Path) -> None:
    """SIGSTOP, a frozen control group: the process is there, and sees nothing."""
    runtime.import_image(images.busybox_image(tmp_path / "image", NAME, files={b"/srv/app/main.sh": b"#!/bin/sh\n"}))
    runtime.run(NAME, "meanwhile")
    try:
        with Watching(runtime.address, tmp_path / "state") as watch:
            assert watch.hear_verdict("meanwhile")["state"] == "Intact"
            os.kill(watch.pid, signal.SIGSTOP)
            try:
                runtime.exec("meanwhile", ["sh", "-c", "echo bad > /srv/app/shell.sh"])
                time.sleep(STALLED_S + 2)
            finally:
                os.kill(watch.pid, signal.SIGCONT)
            watch.hear_finding("/srv/app/shell.sh")
            wait_gap(tmp_path / "state", STALLED)
    finally:
        runtime.stop("meanwhile")


@contextmanager
def daemon_dead(own: Runtime) -> Iterator[None]:
    """The runtime's daemon is dead in the block, its containers live on; after it another one serves them until the end of `own`."""
    assert own._daemon is not None
    own._daemon.kill()
    own._daemon.wait()
    yield
    command = ["containerd", "--config", str(own.state / "containerd.toml")]
    with (own.state / "again.log").open("ab") as log:
        own._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 60
    while own.ctr("version", check=False).returncode:
        assert time.monotonic() < deadline, "containerd does not start again"
        time.sleep(0.1)


def test_a_runtime_that_is_restarted_ends_no_watch_and_the_time_it_was_not_heard_is_told(root: None, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Runtime() as own:
        own.import_image(images.busybox_image(tmp_path / "image", NAME, files={b"/srv/app/main.sh": b"#!/bin/sh\n"}))
        pid = own.run(NAME, "survivor")
        with Watching(own.address, state) as watch:
            assert watch.hear_verdict("survivor")["state"] == "Intact"
            with daemon_dead(own):
                Path(f"/proc/{pid}/root/srv/app/amid.sh").write_text("bad\n")
                watch.hear_finding("/srv/app/amid.sh")
            own.run(NAME, "later")
            assert watch.hear_verdict("later")["state"] == "Intact"
            own.exec("survivor", ["sh", "-c", "echo bad > /srv/app/after.sh"])
            watch.hear_finding("/srv/app/after.sh")
            wait_gap(state, UNHEARD)
            assert not gaps(state, UNWATCHED), "it is the same watch"
