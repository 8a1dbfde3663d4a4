"""A normal life of the services: start, load, log rotation and reload, a rolling restart; and what came of it."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.noise.stage import Object, Stage
from bench.noise.upper import Counts
from bench.noise.workloads import Workload
from lab.progress import step
from lab.settings import LabError

AT_ONCE = 4
QUIET_S = 20.0
"""After the last event: the doorbell's second look comes a minute after a change, alerts after seconds."""


@dataclass
class Life:
    """`counts`: by phase and service, of the service's first pod. `answered`, `failed`: rounds of the load."""

    counts: dict[str, dict[str, Counts]] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)


def live(stage: Stage, workloads: Sequence[Workload], *, load_s: float, say: Callable[[str], None]) -> Life:
    """Every phase, one after the other, of all `workloads` together."""
    life = Life()
    with step(f"a: {len(workloads)} services start, two pods each"):
        stage.deploy(workloads)
        stage.wait_looked_at()
    _count(stage, life, "a", workloads)
    with step(f"b: {load_s:.0f} s of load", lambda: f"{life.answered.total()} answered, {life.failed.total()} not"):
        put_load(stage, workloads, life, load_s / 2)
        _count(stage, life, "b", workloads)
    with step("c: log rotation and reload, under load"):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: _rotate(stage, one, life), workloads))
        put_load(stage, workloads, life, load_s / 2)
        _count(stage, life, "c", workloads)
    with step("d: a rolling restart"):
        stage.restart(workloads)
        stage.wait_looked_at()
        put_load(stage, workloads, life, load_s / 4)
        _count(stage, life, "d", workloads)
        time.sleep(QUIET_S)
    for name, last in life.errors.items():
        say(f"{name}: {life.failed[name]} failed, the last with {last}")
    return life


def _rotate(stage: Stage, workload: Workload, life: Life) -> None:
    for pod in stage.pods(workload.service):
        try:
            stage.run_in(pod, workload.life)
        except LabError as error:
            life.failed[workload.service] += 1
            life.errors[workload.service] = f"{workload.life}: {error}"


def put_load(stage: Stage, workloads: Sequence[Workload], life: Life, seconds: float) -> None:
    """Rounds of requests to all pods, one service after the other, until the time is over."""
    pods: dict[str, list[Object]] = {one.service: stage.pods(one.service) for one in workloads}
    inside: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + seconds
    try:
        for one in workloads:
            script = f"i=0; while [ $i -lt {int(seconds / 2)} ]; do {one.inside}; i=$((i + 1)); sleep 2; done"
            inside += [stage.start_in(pod, script) for pod in pods[one.service] if one.inside]
        while time.monotonic() < deadline:
            for one in workloads:
                for pod in pods[one.service] if one.load else ():
                    assert one.load is not None
                    try:
                        one.load(str(pod["status"]["podIP"]))
                        life.answered[one.service] += 1
                    except (OSError, AssertionError) as error:
                        life.failed[one.service] += 1
                        life.errors[one.service] = f"{type(error).__name__}: {error}"
            time.sleep(0.2)
    finally:
        for process in inside:
            process.terminate()
            process.wait()


def _count(stage: Stage, life: Life, phase: str, workloads: Sequence[Workload]) -> None:
    counted = stage.count_changes()
    life.counts[phase] = {}
    for one in workloads:
        names = [str(pod["metadata"]["name"]) for pod in stage.pods(one.service)]
        life.counts[phase][one.service] = next((counted[name] for name in names if name in counted), Counts())
