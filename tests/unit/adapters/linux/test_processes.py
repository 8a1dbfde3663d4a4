"""A pid is somebody only while it is certain who."""

import os
import subprocess
import sys
import time

from intact.adapters.linux.processes import describe_process, ticks_now


def test_a_process_that_lived_before_is_described() -> None:
    process = describe_process(os.getpid(), alive_since_ticks=ticks_now())
    assert process is not None
    assert (process.pid, process.parent_pid) == (os.getpid(), os.getppid())
    assert process.executable == os.fsencode(os.path.realpath(sys.executable))
    assert process.arguments[0]
    assert process.root_device == os.stat("/").st_dev


def test_a_process_younger_than_the_event_or_gone_is_nobody() -> None:
    before = ticks_now()
    time.sleep(0.03)
    child = subprocess.Popen(["sleep", "30"])
    try:
        assert describe_process(child.pid, alive_since_ticks=before) is None
        time.sleep(0.03)
        assert describe_process(child.pid, alive_since_ticks=ticks_now()) is not None
    finally:
        child.kill()
        child.wait()
    assert describe_process(child.pid, alive_since_ticks=ticks_now()) is None
