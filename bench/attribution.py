"""How often the process behind a change is named, by kind of writer; how often it is named wrongly must be never.

sudo python -m bench.attribution [--writes 200] [--directory /var/tmp]

Each kind writes that many files through an overlay. Named: the finding would say which program it was. In full: with its arguments and
user, which takes a process that is still there when it is asked. Wrong: another program than the one that opened or wrote the file, or
another pid where the writer tells its own. Beside it the same with nothing but what lives on when the event is read: what a watcher knows
without the kernel's notes on tasks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.watching import waited_cpu_s
from intact.adapters.linux.doorbell import FanotifyDoorbell
from intact.adapters.linux.executions import Executions
from intact.adapters.linux.scratch import mount_overlay
from intact.observe.ports import Process
from lab import images
from lab.runtime import Runtime

SHELL, PYTHON = os.path.realpath("/bin/sh"), os.path.realpath("/usr/bin/python3")
TELLS_PID = "import os, sys\nfor path in sys.argv[1:]: open(path, 'w').write(str(os.getpid()))"
LIVES_ON = "import os, sys, time\nfor path in sys.argv[1:]:\n open(path, 'w').write(str(os.getpid()))\n time.sleep(.002)\ntime.sleep(1)"
QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """`write` makes the files `paths`; one of `programs` must be named for them."""

    name: str
    write: Callable[[list[str]], object]
    programs: frozenset[str]
    share: float = 1.0
    """Of the wanted number of writes."""


@dataclass(slots=True)
class Score:
    written: int = 0
    named: int = 0
    full: int = 0
    wrong: int = 0

    def show(self) -> str:
        return f"{100 * self.named / self.written:6.1f} % {100 * self.full / self.written:8.1f} % {self.wrong:6}"


def script(text: str) -> Callable[[list[str]], object]:
    """One shell for all files, `text` for each as `$f`."""
    return lambda paths: subprocess.run([SHELL, "-c", f"for f; do {text}; done", "sh", *paths], check=True)


def one_each(*command: str) -> Callable[[list[str]], object]:
    def write(paths: list[str]) -> None:
        for path in paths:
            subprocess.run([*command, path], check=True)

    return write


KINDS = (
    Kind("program that runs once", script('/usr/bin/cp /etc/hostname "$f"'), frozenset({os.path.realpath("/usr/bin/cp")})),
    Kind("subshell", script('( echo x > "$f" )'), frozenset({SHELL})),
    Kind("end of a pipeline", script('echo x | /usr/bin/cat > "$f"'), frozenset({SHELL, os.path.realpath("/usr/bin/cat")})),
    Kind("python that runs once", one_each(PYTHON, "-c", TELLS_PID), frozenset({PYTHON}), 0.2),
    Kind("shell that lives on", script('echo x > "$f"'), frozenset({SHELL})),
    Kind("python that lives on", lambda paths: subprocess.run([PYTHON, "-c", LIVES_ON, *paths], check=True), frozenset({PYTHON})),
)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--writes", type=int, default=200)
    options.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    chosen = options.parse_args()
    base = Path(tempfile.mkdtemp(dir=chosen.directory, prefix="intact-bench-"))
    try:
        print(f"{'':24}{'with the notes on tasks':^34}  {'what lives on, alone':^26}")
        print(f"{'writer':24}{'n':>6} {'named':>8} {'in full':>10} {'wrong':>6}  {'named':>8} {'in full':>10} {'wrong':>6}")
        for number, kind in enumerate(KINDS):
            writes = max(5, int(chosen.writes * kind.share))
            scores = [measure_overlay(base / f"{number}-{noted}", kind, writes, noted=noted) for noted in (True, False)]
            show(kind.name, scores)
        with Runtime() as runtime:
            scores = [measure_exec(base / f"exec-{noted}", runtime, max(5, chosen.writes // 10), noted=noted) for noted in (True, False)]
        show("exec into a container", scores)
        measure_cost(20 * chosen.writes)
    finally:
        shutil.rmtree(base)


def measure_cost(processes: int) -> None:
    """What the notes cost the agent for programs that do nothing: the most there is to note for the least work."""
    executions = Executions()
    if reason := executions.start():
        sys.exit(reason)
    before, theirs = time.process_time(), waited_cpu_s()
    subprocess.run([SHELL, "-c", f"i=0; while [ $i -lt {processes} ]; do /usr/bin/true; i=$((i+1)); done"], check=True)
    executions.catch_up()
    ours, spent = time.process_time() - before, waited_cpu_s() - theirs
    executions.close()
    each = f"{ours / processes * 1e6:.0f} us of CPU each for the notes, {100 * ours / spent:.1f} % of their own"
    print(f"{processes} programs that do nothing: {each}")


def show(name: str, scores: list[Score]) -> None:
    print(f"{name:24}{scores[0].written:6} {'  '.join(score.show() for score in scores)}", flush=True)


@contextmanager
def listening(base: Path, upper: Path, *, noted: bool) -> Iterator[FanotifyDoorbell]:
    executions = Executions() if noted else None
    if executions is not None and (reason := executions.start()):
        sys.exit(reason)
    bell = FanotifyDoorbell(base, executions=executions)
    bell.start()
    bell.watch([os.fsencode(upper)])
    try:
        yield bell
    finally:
        bell.close()
        if executions is not None:
            executions.close()


def measure_overlay(base: Path, kind: Kind, writes: int, *, noted: bool) -> Score:
    image, upper, work = base / "image", base / "1/fs", base / "1/work"
    for directory in (image, upper, work):
        directory.mkdir(parents=True)
    overlay = mount_overlay((os.fsencode(image),), os.fsencode(upper), os.fsencode(work))
    names = [f"f{number}" for number in range(writes)]
    try:
        with listening(base, upper, noted=noted) as bell:
            kind.write([f"/proc/{os.getpid()}/fd/{overlay}/{name}" for name in names])
            return score(names, collect(bell, upper), kind.programs, upper)
    finally:
        os.close(overlay)


def measure_exec(base: Path, runtime: Runtime, writes: int, *, noted: bool) -> Score:
    """As `kubectl exec` does: the runtime starts a shell in the container, which runs a program that writes."""
    base.mkdir()
    name = f"docker.io/local/attribution:{int(noted)}"
    runtime.import_image(images.busybox_image(base / "image", name))
    container = f"attribution-{int(noted)}"
    runtime.run(name, container)
    names = [f"f{number}" for number in range(writes)]
    try:
        upper = runtime.upper(container)
        with listening(upper.parent, upper, noted=noted) as bell:
            for one in names:
                runtime.exec(container, ["/bin/sh", "-c", f"/bin/busybox cp /etc/passwd /{one}"])
            return score(names, collect(bell, upper), frozenset({"/bin/busybox"}), None)
    finally:
        runtime.stop(container)


def collect(bell: FanotifyDoorbell, upper: Path) -> dict[bytes, Process | None]:
    """The last known writer of each path, as the agent keeps it."""
    writers: dict[bytes, Process | None] = {}
    while (rings := bell.wait(QUIET_S)).dirty or rings.overflowed:
        for path, process in rings.writers.get(os.fsencode(upper), {}).items():
            if process is not None or path not in writers:
                writers[path] = process
    return writers


def score(names: Iterable[str], writers: Mapping[bytes, Process | None], programs: frozenset[str], upper: Path | None) -> Score:
    result = Score()
    for name in names:
        result.written += 1
        process = writers.get(b"/" + name.encode())
        if process is None:
            continue
        result.named += 1
        result.full += bool(process.arguments) and process.uid is not None
        said = (upper / name).read_text().strip() if upper is not None else ""
        is_other_pid = said.isdigit() and int(said) != process.pid
        result.wrong += os.fsdecode(process.executable) not in programs or is_other_pid
    return result


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s")
