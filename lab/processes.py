"""Ending processes by their id, and not being interrupted half-way.

In: process ids that the harness started. Out: none of them left. Never ends a process by name.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from lab.settings import LabError


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; LabError with what it said when it fails."""
    arguments = [str(part) for part in command]
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        arguments, **{"text": True, "capture_output": True, "stdin": subprocess.DEVNULL, **options}
    )
    if done.returncode:
        said = (done.stderr or done.stdout or "").strip()
        raise LabError(f"`{' '.join(arguments)}` failed ({done.returncode}): {said[-2000:]}")
    return done


def is_alive(pid: int) -> bool:
    """False for a zombie, too: it holds nothing any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def started_at(pid: int) -> str:
    """The start time of a process in clock ticks: with the pid it names one process for good (proc_pid_stat(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill_all(pids: Iterable[int], *, timeout_s: float = 10.0) -> None:
    """SIGKILL to each, and waits until none is alive."""
    remaining = list(pids)
    for pid in remaining:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + timeout_s
    while alive := [pid for pid in remaining if is_alive(pid)]:
        if time.monotonic() > deadline:
            raise LabError(f"processes do not end: {alive}")
        time.sleep(0.01)


def find_by_argument(argument: str) -> list[int]:
    """Processes that have exactly this argument on their command line, ourselves left out."""
    wanted, found = argument.encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def kill_by_argument(argument: str) -> None:
    """Ends every process that has exactly this argument, and what they started meanwhile that has it, too."""
    while pids := [pid for pid in find_by_argument(argument) if is_alive(pid)]:
        kill_all(pids)


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does, so that clean-up code runs."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with _handling((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside, a second Ctrl-C does not stop the clean-up that the first one began."""
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: object) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals and may set handlers (signal(7))
        return
    before = {number: signal.signal(number, handler) for number in numbers}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
