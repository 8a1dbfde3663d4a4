"""A process that is told to stop ends soon, whatever it holds in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

SERVICE = """
import sys, time
from intact.run.cluster import controller
from intact.run.signals import stop_on_signals

stop = stop_on_signals()
print("ready", flush=True)
stop.wait()
print(time.process_time(), flush=True)
"""


def test_the_end_of_a_controller_costs_next_to_nothing() -> None:
    """Measured in its own CPU time, beside what its start took: a machine that is slow or busy is so for both."""
    with subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        until_stopped_s = float(process.stdout.readline())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_utime + used.ru_stime - until_stopped_s < until_stopped_s / 5
