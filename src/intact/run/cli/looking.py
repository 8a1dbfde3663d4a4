"""One look at a running container of this host, as the agent looks: what `intact check` and `intact diff` have in common.

In: a container as the runtime lists it. Out: its baseline, every difference, the verdicts. Raises InputError where it cannot be looked at.

1. The writable layer; where added code comes from is found out before anything is judged.
2. The read-only layers, now and without pauses.
3. What runs and what is mounted. What may be a passing state of the runtime is looked at twice (`observe.live`), which takes its time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from intact.adapters.layout.names import DirectoryName, open_image, parse_image_name
from intact.adapters.linux.live import HostLive
from intact.adapters.linux.tree import HostTree
from intact.adapters.provenance.workshop import Workshop
from intact.adapters.runtime.containerd import Containerd
from intact.baseline.table import seal_table
from intact.compare.differ import compare_layer
from intact.compare.judge import judge_layers, name_rules
from intact.ingest.image import Progress, ingest
from intact.model.container import Running
from intact.model.digest import Digest
from intact.model.errors import InputError
from intact.model.finding import Difference, Verdict
from intact.model.layer import Baseline
from intact.model.live import LiveLook
from intact.model.observation import Unobserved
from intact.observe.derive import Deriver
from intact.observe.live import APART_S, Doubts
from intact.run.node.eyes import HostEyes, HostMounts
from intact.run.node.judging import find_out, judge_files, judge_running

from .progress import show_progress

UNTHROTTLED = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """`differences` are those of the writable layer, before any judgement, and `rules` says which rule decided about each; `verdicts` are
    on it, on the read-only layers, and on what runs."""

    running: Running
    baseline: Baseline
    differences: tuple[Difference, ...]
    rules: Mapping[bytes, str]
    verdicts: tuple[Verdict, ...]


def list_containers(address: str) -> list[Running]:
    """What the runtime at `address` runs."""
    runtime = Containerd(address, HostMounts())
    try:
        return list(runtime.list_running(os.environ.get("INTACT_NODE_NAME") or os.uname().nodename))
    finally:
        runtime.close()


def look_at(
    running: Running,
    address: str,
    *,
    with_layers: bool,
    beside: Sequence[Running] = (),
    find_baseline: Callable[[Digest], Baseline | None] = lambda key: None,
) -> Looked:
    """Compares with the baseline that `find_baseline` has, else with one made of the runtime's own blobs. `beside`: what else the runtime
    runs, so that a process is told to be of the container that it is of."""
    mounted = running.mounted
    if mounted is None:
        raise InputError(f"the files of {running.container.name} cannot be seen: {running.unobservable}", code="Unobservable")
    key = running.container.image_key
    if key is None:
        raise InputError(f"the image of {running.container.name} cannot be told: {running.unkeyed}", code="Unkeyed")
    baseline = find_baseline(key) or _build(key, address)
    eyes = HostEyes(layer_rate_bytes_s=UNTHROTTLED)
    deriver = Deriver(HostTree, Workshop())
    weigh = partial(find_out, deriver, running, baseline)
    try:
        observation = eyes.look(running, baseline, None)  # 1
        if observation is None:
            raise InputError(f"{running.container.name} is gone", code="Gone")
        judged = judge_files(baseline, observation, weigh)
        verdicts = [judged.verdict]
        if with_layers:
            verdicts.append(_look_at_layers(running, baseline, eyes))  # 2
        look = _look_at_what_runs(running, beside)  # 3
        ran = judge_running(baseline, mounted, look, partial(eyes.look, running, baseline), weigh) if look is not None else None
        if ran is not None:
            verdicts.append(ran.verdict)
    finally:
        deriver.close()
    rules = name_rules(baseline, observation, judged.differences, judged.weighed.derivations)
    return Looked(running=running, baseline=baseline, differences=judged.differences, rules=rules, verdicts=tuple(verdicts))


def _build(key: Digest, address: str) -> Baseline:
    source = open_image(parse_image_name(f"containerd:{key}"), containerd=address)
    assert not isinstance(source, DirectoryName), "a containerd: name is never a directory"
    with show_progress("baseline") as advance:

        def report(at: Progress) -> None:
            advance(f"layer {at.layer}/{at.layers}", at.bytes_done, at.bytes_total, f"{at.entries:,} entries")

        return ingest(source, progress=report, seal=seal_table)


def _look_at_layers(running: Running, baseline: Baseline, eyes: HostEyes) -> Verdict:
    mounted = running.mounted
    assert mounted is not None
    now = time.time()
    if len(mounted.lowers) != len(baseline.layers):
        reason = f"the runtime mounts {len(mounted.lowers)} read-only layers, the image has {len(baseline.layers)}"
        return judge_layers(running.container, baseline, (), (Unobserved(path=b"/", reason=reason),), now)
    differences: list[Difference] = []
    with show_progress("layers") as advance:
        for number, (directory, table) in enumerate(zip(mounted.lowers, reversed(baseline.layers), strict=True), 1):
            advance(f"layer {number}/{len(mounted.lowers)} on disk", 0, 0)
            differences += compare_layer(table, eyes.read_layer(running, directory, baseline.compared_by))
    return judge_layers(running.container, baseline, differences, (), now)


def _look_at_what_runs(running: Running, beside: Sequence[Running]) -> LiveLook | None:
    """None where it has ended meanwhile: then nothing runs."""
    container = running.container
    world = HostLive(time.time)
    try:
        if reason := world.watch(running):
            return LiveLook(container=container, unobserved=(Unobserved(path=b"/proc", reason=reason),), at=time.time())
        for one in beside:
            if one.container.id != container.id:
                world.watch(one)
        doubts = Doubts()
        looks = list(world.look(frozenset((container.id,))))
        believed, waits = doubts.settle(looks[0], time.monotonic()) if looks else (None, False)
        if waits:
            with show_progress("processes") as advance:
                advance("looking twice", 0, 0)
                time.sleep(APART_S)
            again = list(world.look(frozenset((container.id,))))
            believed = doubts.settle(again[0], time.monotonic())[0] if again else believed
        return believed
    finally:
        world.close()
