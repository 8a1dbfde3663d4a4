"""Who wrote is known even if it has exited, and nobody is named who did not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux import executions as module
from intact.adapters.linux.executions import Executions
from intact.adapters.linux.links import TOO_LONG
from intact.adapters.linux.noted import Noted
from intact.adapters.linux.processes import now_ns
from intact.observe import lineage
from intact.observe.ports import Process
from tests.unit.adapters.linux.test_live_reading import RUN_TOO_DEEP

pytestmark = pytest.mark.usefixtures("root")
SHELL = os.path.realpath("/bin/sh").encode()


@pytest.fixture
def executions() -> Iterator[Executions]:
    listening = Executions()
    if reason := listening.start():
        pytest.skip(reason)
    yield listening
    listening.close()


def run(executions: Executions, script: str) -> tuple[int, Process | None, Process | None]:
    """Runs a shell that prints a pid: (that pid, who it was, who the shell was)."""
    since = now_ns()
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.read().split()[0])
    until = now_ns()
    executions.catch_up()
    return pid, executions.describe(pid, since, until), executions.describe(shell.pid, since, until)


def test_a_subshell_that_has_exited_is_named_with_its_parents(executions: Executions) -> None:
    pid, process, shell = run(executions, "( : ) & echo $!; wait")
    assert process is not None and shell is not None
    assert (process.pid, process.executable, process.has_exited, process.arguments) == (pid, SHELL, True, ())
    assert [parent.pid for parent in process.parents[:2]] == [shell.pid, os.getpid()]
    assert process.parents[1].executable == os.fsencode(os.path.realpath(sys.executable))


def test_a_program_that_has_exited_is_named_by_its_path(executions: Executions) -> None:
    _, process, _ = run(executions, "/usr/bin/true & echo $!; wait")
    assert process is not None and process.executable == os.path.realpath("/usr/bin/true").encode() and process.name == b"true"


def test_a_program_whose_path_the_kernel_does_not_write_is_not_named_by_what_it_maps_next(executions: Executions, tmp_path: Path) -> None:
    since = now_ns()
    with subprocess.Popen([sys.executable, "-c", RUN_TOO_DEEP, "0"], cwd=tmp_path) as child:
        child.wait()
    assert child.returncode == 0
    executions.catch_up()
    process = executions.describe(child.pid, since, now_ns())
    assert process is not None and process.executable == TOO_LONG and process.name == b"deep"


def test_one_that_lives_tells_its_arguments_and_its_user(executions: Executions) -> None:
    since = now_ns()
    child = subprocess.Popen(["sleep", "30"])
    try:
        deadline = time.monotonic() + 10
        process = None
        while (process is None or process.arguments != (b"sleep", b"30")) and time.monotonic() < deadline:
            executions.catch_up()
            process = executions.describe(child.pid, since, now_ns())
        assert process is not None and process.arguments == (b"sleep", b"30") and process.uid == os.geteuid() and not process.has_exited
        assert abs(process.started_at - time.time()) < 60
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def older() -> Iterator[subprocess.Popen[bytes]]:
    """A process that was there before anybody listened."""
    with subprocess.Popen(["sleep", "30"]) as child:
        time.sleep(0.1)  # when a process began is known to a clock tick
        yield child
        child.kill()


def test_one_that_was_there_before_is_known_too(older: subprocess.Popen[bytes], executions: Executions) -> None:
    process = executions.describe(older.pid, now_ns() - 10**6, now_ns())
    assert process is not None and process.parents[0].pid == os.getpid() and process.arguments == (b"sleep", b"30")


def test_a_pid_that_nobody_has_is_nobody(executions: Executions) -> None:
    executions.catch_up()
    child = subprocess.Popen(["true"])
    child.wait()
    after = now_ns()
    executions.catch_up()
    assert executions.describe(child.pid, after, now_ns()) is None, "it had exited before"
    assert executions.describe(2**22 + 1, after, now_ns()) is None


def test_after_a_loss_only_what_is_certain_is_named_and_later_everything_again(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert executions._events is not None
    read = executions._events.read
    monkeypatch.setattr(type(executions._events), "read", lambda self: (*read()[:2], True))
    _, process, _ = run(executions, "( : ) & echo $!; wait")
    assert process is None
    assert executions.describe(os.getpid(), now_ns() - 10**6, now_ns()) is not None, "it lives, and did before"
    monkeypatch.undo()
    monkeypatch.setattr(module, "SEED_AGAIN_NS", 0)
    executions.catch_up()
    _, process, _ = run(executions, "( : ) & echo $!; wait")
    assert process is not None and process.executable == SHELL


def test_a_storm_of_processes_costs_no_truth(executions: Executions) -> None:
    """Thousands of them between two readings: whoever is named is named rightly."""
    since = now_ns()
    script = "i=0; while [ $i -lt 3000 ]; do ( : ) ; i=$((i+1)); done; ( : ) & echo $!; wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.read())
    executions.catch_up()
    process = executions.describe(pid, since, now_ns())
    assert process is None or (process.executable == SHELL and process.parents[0].pid == shell.pid)


def test_everything_is_given_back() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        listening = Executions()
        if reason := listening.start():
            pytest.skip(reason)
        listening.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "executions"]


IN_MEMORY = """
import ctypes, os, shutil, sys, threading, time
def run():
    program = os.memfd_create("x")
    with open(shutil.which("sleep"), "rb") as file:
        os.write(program, file.read())
    os.execve(program, ["x", "0.05"], {})
def wait_for_the_first():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
def outlive():
    wait_for_the_first()
    time.sleep(1.5)
    run()
def leave_a_child():
    wait_for_the_first()
    if not os.fork():
        run()
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
def end_first(go_on):
    threading.Thread(target=go_on).start()
    ctypes.CDLL(None).pthread_exit(None)
"""
BY_THREADS = {
    "a thread that takes its process's place": "threading.Thread(target=run).start(); time.sleep(5)",
    "the child of a process whose first thread has ended": "end_first(leave_a_child)",
    "a thread that outlives the first one": "end_first(outlive)",
}


@pytest.mark.parametrize("how", BY_THREADS)
def test_what_is_executed_by_threads_is_noted_of_their_container(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "KEPT_NS", 10**8)
    noted = Noted(lambda: None, homes=frozenset({os.stat("/proc/self/ns/mnt").st_ino}))
    listening = Executions(noted)
    if reason := listening.start():
        pytest.skip(reason)
    try:
        with subprocess.Popen([sys.executable, "-c", IN_MEMORY + BY_THREADS[how]]) as child:
            child.wait()
        listening.catch_up()
        assert child.returncode == 0
        found, _, _ = noted.drain()
        assert [one.is_program for one in found if one.path.startswith(b"/memfd:x")] == [True]
        assert listening._lineage.find_alive(child.pid) is None, "it is known to have ended"
    finally:
        listening.close()


def test_who_does_something_after_its_first_thread_has_ended_is_known() -> None:
    listening = Executions()
    if reason := listening.start():
        pytest.skip(reason)
    try:
        told = "def go_on(): wait_for_the_first(); print('now', flush=True); time.sleep(5)\nend_first(go_on)"
        with subprocess.Popen([sys.executable, "-c", IN_MEMORY + told], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"now\n"
            listening.catch_up()
            found = listening.describe(child.pid, now_ns(), now_ns())
            assert found is not None and (found.executable, found.has_exited) == (os.fsencode(os.path.realpath(sys.executable)), False)
            child.kill()
        listening.catch_up()
        assert listening._lineage.find_alive(child.pid) is None
    finally:
        listening.close()
