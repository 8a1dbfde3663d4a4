"""How this host's containers are looked at: the observe stage on the host's own trees, with what was read before remembered.

Looks at writable layers happen on the node flow's thread, readings of read-only layers on its verifier's; each has its own memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from intact.adapters.linux.executed import list_executed
from intact.adapters.linux.known import KnownFiles
from intact.adapters.linux.mounts import confirm_overlay, read_defaults, read_mounts, root_device, uses_user_attributes
from intact.adapters.linux.overlay_index import find_shared
from intact.adapters.linux.pressure import read_io_pressure
from intact.adapters.linux.threads import has_ended
from intact.adapters.linux.tree import HostTree
from intact.compare.interest import choose_reading, speak_for
from intact.compare.raised import Raised
from intact.model.container import Mounted, Running
from intact.model.digest import SHA256, Algorithms
from intact.model.errors import InputError
from intact.model.finding import Finding
from intact.model.layer import Baseline, Record
from intact.model.observation import Observation, Scope, Unobserved
from intact.model.seam import PlannedLevel
from intact.observe.dating import date_findings
from intact.observe.drift import scan_drift
from intact.observe.layers import read_files, read_layer
from intact.observe.settled import Settled, SettledTree

from .consideration import Consideration


class HostEyes:
    """Looks at the writable layer, and reads the read-only ones at no more than `layer_rate_bytes_s` and not while others wait."""

    def __init__(self, *, layer_rate_bytes_s: int) -> None:
        self._known = KnownFiles()
        self._pace = Throttle(layer_rate_bytes_s)
        self._consider = Consideration(read_io_pressure)

    def look(
        self, running: Running, baseline: Baseline, paths: frozenset[bytes] | None, levels: tuple[PlannedLevel, ...] = ()
    ) -> Observation | None:
        """The writable layer, or only `paths` of it; None if there is no such layer any more. `levels`: what is told besides what the
        default rules tell."""
        mounted = running.mounted
        if mounted is None:
            raise InputError(f"container {running.container.id} cannot be looked at: {running.unobservable}")
        try:
            with HostTree(mounted.upper, user_attributes=uses_user_attributes(mounted), known=self._known) as tree:
                raised = Raised(levels, time.time())
                speaks, choose = speak_for(baseline, mounted.targets, raised), choose_reading(baseline, mounted.targets, raised)
                seen = scan_drift(running, tree, baseline=baseline, clock=time.time, only=paths, speaks=speaks, choose_reading=choose)
            return replace(seen, unobserved=seen.unobserved + find_shared(mounted))
        except (InputError, OSError) as error:
            if not Path(os.fsdecode(mounted.upper)).exists():
                return None
            now = time.time()
            unobserved = (Unobserved(path=b"/", reason=str(error)),)
            return Observation(container=running.container, scope=Scope.DRIFT, unobserved=unobserved, started_at=now, finished_at=now)

    def can_look(self, running: Running) -> bool:
        """Whether the writable layer is still there."""
        return running.mounted is not None and Path(os.fsdecode(running.mounted.upper)).is_dir()

    def date(
        self, running: Running, baseline: Baseline, findings: tuple[Finding, ...], known: Mapping[str, Finding]
    ) -> tuple[Finding, ...]:
        """`findings` with the moments at which they were made; as they are where the writable layer cannot be looked at any more."""
        mounted = running.mounted
        if mounted is None or not findings:
            return findings
        try:
            with HostTree(mounted.upper, user_attributes=uses_user_attributes(mounted), known=self._known) as tree:
                return date_findings(tree, baseline, findings, known)
        except (InputError, OSError):
            return findings

    def read_layer(
        self, running: Running, directory: bytes, algorithms: Algorithms = SHA256, settled: Settled | None = None
    ) -> Iterator[Record | Unobserved]:
        """One read-only layer as it lies on disk, its page cache left as it was; of what is `settled`, only what may have changed since.
        Raises InputError if it is not there."""
        mounted = running.mounted
        assert mounted is not None, "only containers whose overlay was confirmed have layers to read"
        with HostTree(directory, user_attributes=uses_user_attributes(mounted), pace=self._pace, drop_cache=True) as tree:
            for found in read_layer(tree if settled is None else SettledTree(tree, settled), algorithms=algorithms):
                yield found
                self._consider()

    def read_files(
        self, running: Running, directory: bytes, paths: frozenset[bytes], algorithms: Algorithms = SHA256, settled: Settled | None = None
    ) -> list[Record | Unobserved]:
        """The same of `paths` alone, sorted."""
        mounted = running.mounted
        assert mounted is not None, "only containers whose overlay was confirmed have layers to read"
        with HostTree(directory, user_attributes=uses_user_attributes(mounted), pace=self._pace, drop_cache=True) as tree:
            return read_files(tree if settled is None else SettledTree(tree, settled), paths, algorithms=algorithms)

    def list_executed(self, running: Running) -> frozenset[bytes]:
        """What of its overlay the container's processes execute now, or map to execute; as far as they may be looked at."""
        return list_executed(running)


class Throttle:
    """Spreads reads over time: at most `rate_bytes_s`, with a second's worth of burst."""

    def __init__(
        self, rate_bytes_s: int, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._rate, self._clock, self._sleep = rate_bytes_s, clock, sleep
        self._free_at = clock()

    def __call__(self, size_bytes: int) -> None:
        now = self._clock()
        self._free_at = max(self._free_at, now - 1.0) + size_bytes / self._rate
        if self._free_at > now:
            self._sleep(self._free_at - now)


class HostMounts:
    """The host's word on a container's overlay, read anew for every container."""

    def __call__(self, declared: Mounted, *, id: str, namespace: str, init_pid: int) -> Mounted | str | None:
        """Implements `adapters.runtime.ports.Confirm`."""
        device = root_device(init_pid)
        if device is None:
            return None if has_ended(init_pid) else "its first process may not be looked at: CAP_SYS_PTRACE is missing"
        confirmed = confirm_overlay(declared, read_mounts(), root_device=device, defaults=read_defaults())
        return confirmed if isinstance(confirmed, Mounted) else confirmed.reason
