"""A container's file system without a container: a real overlay, mounted nowhere, that ends with its descriptor."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Self

from intact.adapters.linux.known import KnownFiles
from intact.adapters.linux.scratch import mount_overlay
from intact.adapters.linux.tree import HostTree
from intact.compare.differ import compare
from intact.compare.interest import speak_for
from intact.compare.judge import judge
from intact.compare.raised import Raised
from intact.model.container import Container, IdMap, Mounted, Running
from intact.model.digest import Digest
from intact.model.entry import Entry
from intact.model.finding import Verdict
from intact.model.layer import Baseline, Grade, MemoryTable, Record
from intact.model.observation import Observation
from intact.model.seam import PlannedLevel
from intact.observe.drift import scan_drift
from intact.observe.layers import read_layer
from intact.observe.ports import Budget

CONTAINER = Container(id="c1", name="web", image="example/web", image_key=None, node="n1")
NOTHING = Digest.of(b"")


class Staged:
    """`image` is the lower directory to fill before `start`; `inside` the container's view afterwards; `upper` the host's."""

    def __init__(self, base: Path, options: tuple[tuple[bytes, bytes | None], ...] = ()) -> None:
        self.base = base
        self.image = base / "image"
        self.upper = base / "snapshots" / "1" / "fs"
        self.work = base / "snapshots" / "1" / "work"
        self._options = options
        self._overlay = -1
        self.known = KnownFiles()
        for directory in (self.image, self.upper, self.work):
            directory.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._overlay >= 0:
            os.close(self._overlay)
        shutil.rmtree(self.base, onerror=lambda *_: None)

    def start(self) -> Self:
        self.baseline = baseline_of(self.image)
        self._overlay = mount_overlay((os.fsencode(self.image),), os.fsencode(self.upper), os.fsencode(self.work), self._options)
        self.inside = Path(f"/proc/self/fd/{self._overlay}")
        return self

    def remount(self) -> None:
        """As after a restart of the container: what the kernel remembered of names is gone."""
        os.close(self._overlay)
        self._overlay = mount_overlay((os.fsencode(self.image),), os.fsencode(self.upper), os.fsencode(self.work), self._options)
        self.inside = Path(f"/proc/self/fd/{self._overlay}")

    @property
    def overlay(self) -> int:
        return self._overlay

    def running(self, uid_map: tuple[IdMap, ...] = ()) -> Running:
        options = tuple(os.fsdecode(name if value is None else name + b"=" + value) for name, value in self._options)
        upper, lowers = os.fsencode(self.upper), (os.fsencode(self.image),)
        mounted = Mounted(upper=upper, lowers=lowers, device=0, options=options, uid_map=uid_map, gid_map=uid_map)
        return Running(container=CONTAINER, init_pid=0, mounted=mounted)

    def look(
        self,
        only: set[bytes] | None = None,
        budget: Budget | None = None,
        user_attributes: bool = False,
        levels: tuple[PlannedLevel, ...] = (),
    ) -> Observation:
        with HostTree(os.fsencode(self.upper), known=self.known, user_attributes=user_attributes) as tree:
            speaks = speak_for(self.baseline, (), Raised(levels, time.time()))
            return scan_drift(self.running(), tree, baseline=self.baseline, clock=time.time, only=only, budget=budget, speaks=speaks)

    def judge(self, only: set[bytes] | None = None, budget: Budget | None = None, levels: tuple[PlannedLevel, ...] = ()) -> Verdict:
        """What the node would tell of it."""
        observation = self.look(only, budget, levels=levels)
        return judge(self.baseline, observation, compare(self.baseline, observation), levels=levels)


def baseline_of(*layers: Path, user_attributes: bool = False) -> Baseline:
    """The baseline of unpacked layers, bottom first."""
    tables = []
    for number, layer in enumerate(layers):
        with HostTree(os.fsencode(layer), user_attributes=user_attributes) as tree:
            found = list(read_layer(tree))
        records = tuple(record for record in found if isinstance(record, Record))
        assert len(records) == len(found), [item for item in found if not isinstance(item, Record)]
        root = Digest.of(repr(records).encode())
        tables.append(MemoryTable(Digest.of(b"%d" % number), root, records))
    return Baseline(key=NOTHING, layers=tuple(tables), grade=Grade.FIRST_SEEN, source="dir:test")


def seen(observation: Observation) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in observation.present}
