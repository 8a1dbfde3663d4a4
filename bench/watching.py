"""What several measurements share: a file system of their own, a shell in a container, what the kernel says of a process, percentiles."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cgroups import hierarchies
from lab.settings import LabError
from lab.watching import Line, Watching

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@contextmanager
def own_file_system(size: str = "6G") -> Iterator[Path]:
    """An ext4 of its own in a sparse file, as the harness' state directory: what others write to the machine's disk is not heard there."""
    before = os.environ.get("INTACT_STATE")
    with tempfile.TemporaryDirectory(prefix="intact-bench-", dir="/var/tmp") as name:
        image, point = Path(name, "disk"), Path(name, "mounted")
        point.mkdir()
        subprocess.run(["truncate", "-s", size, image], check=True)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, point], check=True)
        os.environ["INTACT_STATE"] = str(point / "state")
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)
            if before is None:
                del os.environ["INTACT_STATE"]
            else:
                os.environ["INTACT_STATE"] = before


def run_node_half(socket: Path, state: Path, containers: int) -> Watching:
    """The node's half alone, with what the chart sets in the agent's environment; says `ready` once that many containers are intact."""
    state.mkdir()
    setting = ["MALLOC_ARENA_MAX=1", "MALLOC_TRIM_THRESHOLD_=131072"]
    return Watching(["env", *setting, sys.executable, "-m", "bench.node_half", socket, state, str(containers)], state / "log")


def hear_first_looks(watching: Watching, ids: set[str]) -> dict[tuple[str, str], float]:
    """Waits until of each container the files it changed, its read-only layers and what runs were looked at; when each of these (container,
    scope) was first heard, by the monotonic clock. LabError if one is not intact."""
    heard: dict[tuple[str, str], float] = {}
    while len(heard) < 3 * len(ids):
        line = watching.hear(lambda line: line["type"] == "verdict" and line["container"]["id"] in ids)
        if line["state"] != "Intact":
            raise LabError(f"a container that nobody touched is not intact: {line}")
        heard.setdefault((line["container"]["id"], line["scope"]), line["heard_at"])
    return heard


def is_finding(line: Line, path: str, change: str) -> bool:
    return bool(line["type"] == "finding" and line["path"] == path and line["change"] == change)


def groups_of(pid: int) -> list[str]:
    """The control groups of a process below the hierarchies' roots (cgroups(7), /proc/PID/cgroup)."""
    paths = {line.split(":", 2)[2].lstrip("/") for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()} - {""}
    groups = (hierarchy / path for hierarchy in hierarchies() for path in sorted(paths))
    return [str(group) for group in groups if (group / "cgroup.procs").exists()]


@contextmanager
def shell_inside(pid: int) -> Iterator[Callable[[str], None]]:
    """A root shell in the namespaces and control groups of a container, as the runtime's `exec` gives one, but with all rights: each call
    runs one line to its end. Nothing of the host stays there: `nsenter` becomes the shell."""
    namespaces = ("--mount", "--pid", "--ipc", "--uts", "--net")
    enter = "exec nsenter --no-fork --target " + " ".join((str(pid), *namespaces)) + " /bin/sh"
    join = f'for group; do echo $$ > "$group/cgroup.procs"; done; {enter}'
    command = ["/bin/sh", "-c", join, "join", *groups_of(pid)]
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert shell.stdin is not None and shell.stdout is not None
    requests, answers = shell.stdin, shell.stdout

    def run(line: str) -> None:
        requests.write(f"{{ {line}; }} >/dev/null </dev/null; echo done $?\n")
        said = answers.readline()
        if said != "done 0\n":
            raise LabError(f"in the container, `{line}` ended with {said or 'the shell'}")

    try:
        yield run
    finally:
        requests.close()
        shell.wait()
        answers.close()


def write_steadily(directory: Path, rate_s: int, seconds: float) -> float:
    """Writes one of 500 files anew, so many times a second; returns how many a second it was."""
    directory.mkdir(parents=True, exist_ok=True)
    started, step_s, written = time.monotonic(), 0.01, 0
    for step in range(int(seconds / step_s)):
        for _ in range(int(rate_s * step_s)):
            (directory / f"file{written % 500}").write_bytes(b"x")
            written += 1
        time.sleep(max(0.0, started + (step + 1) * step_s - time.monotonic()))
    return written / (time.monotonic() - started)


def cpu_s(pid: int) -> float:
    """Seconds of CPU that all threads of `pid` have used (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def waited_cpu_s() -> float:
    """Seconds of CPU that all processes have used whose end this one has seen, and theirs (getrusage(2): RUSAGE_CHILDREN)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mb(pid: int) -> tuple[float, float]:
    """(RSS, PSS) in MB (proc_pid_smaps_rollup(5))."""
    sizes = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return tuple(int(sizes[name].split()[0]) / 1024 for name in ("Rss", "Pss"))  # type: ignore[return-value]


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def describe_machine() -> str:
    kernel = os.uname().release
    return f"{os.cpu_count()} cores, Linux {kernel}, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}"


def describe_run() -> str:
    """The command as it was typed, and what it runs on."""
    return "$ " + " ".join(["python", *sys.orig_argv[1:]]) + "\n" + describe_machine()
