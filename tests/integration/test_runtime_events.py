"""What containerd's event stream, and its absence, make the agent do."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from intact.adapters.runtime.containerd import Containerd
from intact.adapters.runtime.events import Changes
from intact.model.container import Mounted
from intact.model.errors import TemporaryError
from lab import images
from lab.runtime import Runtime

NAME = "docker.io/local/events:1"


def settle(changes: Changes) -> None:
    """The two reasons to list that follow a subscription."""
    assert changes.wait(5), "subscribed"
    started = time.monotonic()
    assert changes.wait(5), "and once more, for what began while the subscription did"
    assert time.monotonic() - started < 1.5


def test_starts_and_ends_are_changes_and_probes_are_not(runtime: Runtime, tmp_path: Path) -> None:
    runtime.import_image(images.busybox_image(tmp_path, NAME))
    changes = Changes(str(runtime.address))
    try:
        settle(changes)
        assert not changes.wait(0.3), "nothing happens"
        runtime.run(NAME, "heard")
        try:
            started = time.monotonic()
            assert changes.wait(5)
            assert time.monotonic() - started < 0.5
            runtime.exec("heard", ["true"])
            assert not changes.wait(0.3), "a command in a container is no change of the containers"
        finally:
            runtime.stop("heard")
        assert changes.wait(5)
        assert not changes.wait(0.3), "end and removal were one change"
    finally:
        changes.close()


def confirm(declared: Mounted, *, id: str, namespace: str, init_pid: int) -> Mounted | str:
    return declared


@pytest.mark.usefixtures("root")
def test_a_restarted_runtime_is_a_change_and_its_containers_are_found_again(tmp_path: Path) -> None:
    with Runtime() as own:
        own.import_image(images.busybox_image(tmp_path, NAME))
        own.run(NAME, "survivor")
        changes, containerd = Changes(str(own.address)), Containerd(str(own.address), confirm)
        settle(changes)
        before = containerd.list_running("n")
        assert len(before) == 1

        assert own._daemon is not None
        os.kill(own._daemon.pid, signal.SIGKILL)
        own._daemon.wait()
        assert changes.wait(5), "the stream ended"
        assert changes.problem
        assert not changes.wait(0.5), "nobody is there: waiting, not spinning"
        with pytest.raises(TemporaryError, match="running"):
            containerd.list_running("n")

        with (own.state / "again.log").open("ab") as log:
            again = subprocess.Popen(
                ["containerd", "--config", str(own.state / "containerd.toml")], stdout=log, stderr=log, start_new_session=True
            )
        try:
            deadline = time.monotonic() + 15
            while not changes.wait(1):
                assert time.monotonic() < deadline, changes.problem
            assert containerd.list_running("n") == before, "the container never stopped"
            assert changes.problem == ""
        finally:
            changes.close()
            containerd.close()
            own.stop("survivor")
            again.kill()
            again.wait()
