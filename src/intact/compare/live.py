"""What runs and what is mounted becomes a verdict: what is neither the image's nor in the container's own configuration is told.

In come a baseline, what the runtime's configuration mounts, one `LiveLook`, and how the running files of the writable layer differ from the
image. Out comes a `Verdict` of scope LIVE. Pure. Silent, and counted: programs of declared volumes, and mounts below a declared one.

1. A file of the writable layer that runs is told if it differs from the image, whatever its mode bits; a library is not, that provably
   comes from an archive of the image.
2. One that no name leads to any more is told unless its content is the image's at that path.
3. A program in memory alone is told. What is only mapped from there, from a nameless file or from another file system counts if it begins
   as an ELF file: just-in-time compilers map memory too. What a service compiles from its configuration (Varnish) is counted.
4. A program of another file system is a volume's if the configuration mounts it from the host, outside /dev, /proc and /sys.
5. Any of these as the first process of the container: it was replaced.
6. A mount where the configuration has none is told; so is a second one over a declared one, or in its place, and a declared one that lost
   a restriction, or that is not there: the runtime mounts them all before the first process begins.
7. Of what ran before the look and is over, the content is not known: it is told as if it were a program or a library, unless the image has
   that path. A Java virtual machine unpacks libraries, loads and removes them: those are silent.
8. A process that left the container's mount namespace, user namespace or root is told.
9. A program that came into a volume, or changed there, since the container was created is told, where somebody looked for such.
10. A file that the runtime made for the container (/etc/hosts) is told as long as it is other than when the container had started.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from intact.model.container import DeclaredMount, Mounted
from intact.model.derivation import Derivation, Proof
from intact.model.entry import Entry, Kind, ancestors, display_path, parent
from intact.model.finding import Aggregate, Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Baseline
from intact.model.live import Brought, Departed, Departure, LiveLook, MountSeen, Place, Rewritten, Run, Runner
from intact.model.observation import Scope
from intact.model.resolve import resolve
from intact.model.seam import PlannedLevel

from .presets import find_preset
from .raised import Raised

MAX_FINDINGS = 200
_RESTRICTIONS = {"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec"}
"""What a mount may be restricted by (mount(8)), and the option that says the opposite."""
_VIRTUAL_MACHINES = re.compile(rb"/bin/java\Z")
_OF_THE_RUNTIME = (b"/dev", b"/proc", b"/sys")


def judge_live(
    baseline: Baseline,
    mounted: Mounted,
    look: LiveLook,
    differences: Mapping[bytes, Difference],
    *,
    derivations: Mapping[bytes, Derivation] | None = None,
    with_volumes: bool = False,
    levels: Sequence[PlannedLevel] = (),
) -> Verdict:
    """`differences` are those of the paths in `look.runs` that are in the writable layer, `derivations` where those files come from, as far
    as that is known. `with_volumes`: programs of volumes are told; `levels`: what else is told of what is otherwise counted."""
    derived = frozenset(path for path, one in (derivations or {}).items() if one.proof is Proof.DERIVED)
    making = _Making(baseline, mounted, look, with_volumes, derived, Raised(levels, look.at))
    for run in look.runs:
        making.take_run(run, differences)
    if not look.is_past:
        for mount in _undeclared(baseline, mounted, look.mounts, making):
            making.take_mount(mount)
        for missing in _missing(baseline, mounted, look.mounts):
            making.take_missing(missing)
    for departed in look.departed:
        making.take_departed(departed)
    for brought in look.brought:
        making.take_brought(brought)
    for rewritten in look.rewritten:
        making.take_rewritten(rewritten)
    return making.finish()


def paths_to_compare(look: LiveLook) -> frozenset[bytes]:
    """The running files of which the writable layer holds the name: whether they differ is for a look at that layer to say."""
    return frozenset(run.path for run in look.runs if run.place is Place.UPPER)


def find_derivable(look: LiveLook, differences: Mapping[bytes, Difference]) -> tuple[Entry, ...]:
    """The libraries of which it is to be found out whether an archive of the image holds them: unpacked, loaded, and often removed."""
    found: dict[bytes, Entry] = {}
    for run in look.runs:
        entry = _entry(run) if run.place is Place.GONE else None
        if run.place is Place.UPPER and run.path in differences and differences[run.path].change is Change.ADDED:
            entry = differences[run.path].actual
        if run.is_mapped and entry is not None and entry.kind is Kind.FILE and entry.digest is not None:
            found[run.path] = entry
    return tuple(found.values())


@dataclass(slots=True)
class _Making:
    baseline: Baseline
    mounted: Mounted
    look: LiveLook
    with_volumes: bool
    derived: frozenset[bytes]
    raised: Raised
    findings: dict[tuple[bytes, str, str], Finding] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    untold: int = 0
    volumes: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        targets = {_resolved(self.baseline, m.target) for m in self.mounted.mounts if m.kind == "bind"}
        self.volumes = frozenset(t for t in targets if not any(_is_at_or_below(t, runtime) for runtime in _OF_THE_RUNTIME))

    def take_run(self, run: Run, differences: Mapping[bytes, Difference]) -> None:
        if run.is_mapped and run.path in self.derived:
            return
        if run.is_mapped and find_preset(run.path, run.by.executable) is not None:
            self._count_run(run, "compiled-by-itself", parent(run.path), "compiled by itself")
            return
        match run.place:
            case Place.UPPER:  # 1
                difference, is_of_image = differences.get(run.path), self.baseline.find(run.path) is not None
                is_same = difference is None or difference.change in (Change.UNREAD, Change.METADATA, Change.DELETED)
                if is_of_image and is_same:
                    return
                actual = difference.actual if difference is not None else None
                self._tell_run(run, actual, _describe(run, "changed" if is_of_image else "added"))
            case Place.GONE if self._is_unread(run):  # 7
                is_unpacked = run.is_mapped and _VIRTUAL_MACHINES.search(run.by.executable)
                if not is_unpacked and self.baseline.find(run.path) is None:
                    self._tell_run(run, None, _describe(run, "and gone before it could be looked at"))
            case Place.GONE:  # 2
                if not self._is_of_image(run) and (not run.is_mapped or run.is_elf is not False):
                    self._tell_run(run, _entry(run), _describe(run, "deleted since"))
            case Place.MEMORY:  # 3
                if not run.is_mapped or run.is_elf or self._is_unread(run):
                    self._tell_run(run, _entry(run), _describe(run, "in memory alone"))
            case Place.ELSEWHERE:
                self._take_elsewhere(run)
            case _:
                assert_never(run.place)

    def _take_elsewhere(self, run: Run) -> None:
        if run.is_mapped and not run.is_elf and not self._is_unread(run):
            return
        mount = self._mount_of(run)
        if mount is not None and mount in self.volumes and not run.by.is_away:  # 4
            if self.with_volumes:
                self._tell(run.path, "volume-executed", Level.MEDIUM, _describe(run, "from a volume"), run.by, actual=_entry(run))
            else:
                self._count_run(run, "volume-executed", mount, "from a volume")
            return
        where = f"on the mount {display_path(mount, 200)}" if mount else "on another file system"
        self._tell_run(run, _entry(run), _describe(run, where))

    def _mount_of(self, run: Run) -> bytes | None:
        targets = {m.target for m in self.look.mounts if m.by is None and m.target != b"/"}
        return next((above for above in (run.path, *ancestors(run.path)) if above in targets), None)

    def _is_unread(self, run: Run) -> bool:  # 7
        return self.look.is_past and run.is_elf is None

    def _is_of_image(self, run: Run) -> bool:
        expected = self.baseline.find(run.path)
        if expected is None or run.digest is None:
            return False
        return run.digest in (expected.digest, *expected.further)

    def _tell_run(self, run: Run, actual: Entry | None, reason: str) -> None:
        if run.by.is_init and not run.is_mapped:  # 5
            self._tell(run.path, "init-replaced", Level.CRITICAL, reason, run.by, actual=actual)
        else:
            self._tell(run.path, "not-of-the-image-executed", Level.HIGH, reason, run.by, actual=actual)

    def take_mount(self, found: _Undeclared) -> None:
        mount = found.mount
        path = mount.target
        expected = self.baseline.find(path)
        source = _describe_mount(mount)
        if found.lost:
            self._tell(path, "remounted", Level.HIGH, f"{source}, configured {found.lost}", mount.by, change=Change.MOUNTED)
        elif expected is not None or path == b"/" or found.is_second:
            self._tell(path, "mounted-over", Level.HIGH, source, mount.by, change=Change.MOUNTED)
        else:
            self._tell(path, "mounted-over", Level.MEDIUM, source, mount.by, change=Change.MOUNTED)

    def take_missing(self, missing: DeclaredMount) -> None:
        path = _resolved(self.baseline, missing.target)
        source = f" from {display_path(missing.source.encode('utf-8', 'surrogateescape'), 120)}" if missing.source else ""
        reason = f"{display_path(missing.kind.encode(), 40)}{source} is configured there, and is not mounted any more"
        self._tell(path, "unmounted", Level.HIGH, reason, None, change=Change.MOUNTED)

    def take_departed(self, departed: Departed) -> None:  # 8
        by, root = departed.by, display_path(departed.root, 120)
        match departed.how:
            case Departure.MOUNTS:
                self._tell(by.executable, "foreign-namespace", Level.MEDIUM, "runs in a mount namespace of its own", by)
            case Departure.HOST:
                self._tell(by.executable, "foreign-namespace", Level.MEDIUM, "runs in the host's mount namespace", by)
            case Departure.USERS:
                self._tell(by.executable, "foreign-namespace", Level.LOW, "runs in a user namespace of its own", by)
            case Departure.ROOT:
                self._tell(by.executable, "root-changed", Level.HIGH, "its root is another file system", by)
            case Departure.JAIL:
                self._tell(by.executable, "root-changed", Level.MEDIUM, f"was started with {root} as its root", by)
            case _:
                assert_never(departed.how)

    def take_brought(self, brought: Brought) -> None:  # 9
        entry = brought.entry
        is_privileged = entry.mode & 0o6000 or any(name == b"security.capability" for name, _ in entry.xattrs)
        level = Level.HIGH if is_privileged else Level.MEDIUM
        reason = "came into a volume, or changed there, since the container was created"
        self._tell(entry.path, "added-to-volume", level, reason, None, actual=entry, change=Change.ADDED, changed_at=brought.changed_at)

    def take_rewritten(self, file: Rewritten) -> None:  # 10
        reason = "the runtime made it for the container, and it was changed since"
        self._tell(
            file.entry.path,
            "runtime-file-changed",
            Level.MEDIUM,
            reason,
            None,
            expected=file.before,
            actual=file.entry,
            change=Change.MODIFIED,
            changed_at=file.changed_at,
        )

    def count_below(self, mount: MountSeen, above: bytes) -> None:
        if any(_is_at_or_below(above, runtime) for runtime in _OF_THE_RUNTIME):
            return
        level = self.raised.find(mount.target, Change.MOUNTED, directory=True)
        if level is None:
            self._count("mounted-below-volume", above)
        else:
            self._tell(mount.target, "mounted-below-volume", level, _describe_mount(mount), mount.by, change=Change.MOUNTED)

    def finish(self) -> Verdict:
        ordered = sorted(self.findings.values(), key=_weigh)
        findings, unobserved = tuple(ordered[:MAX_FINDINGS]), self.look.unobserved
        return Verdict(
            container=self.look.container,
            state=State.DRIFTED if findings else State.UNOBSERVED if unobserved else State.INTACT,
            scope=Scope.LIVE,
            findings=findings,
            aggregates=tuple(Aggregate(pattern=p, rule=r, count=n) for (r, p), n in sorted(self.counts.items())),
            unobserved=unobserved,
            baseline_root=self.baseline.root,
            grade=self.baseline.grade,
            untold=len(ordered) - len(findings),
            compared=self.look.processes + len(self.look.mounts),
            at=self.look.at,
        )

    def _count_run(self, run: Run, rule: str, directory: bytes, where: str) -> None:
        level = self.raised.find(run.path, Change.EXECUTED)
        if level is None:
            self._count(rule, directory)
        else:
            self._tell(run.path, rule, level, _describe(run, where), run.by, actual=_entry(run))

    def _count(self, rule: str, directory: bytes) -> None:
        self.counts[rule, display_path(directory, 400).rstrip("/") + "/**"] += 1

    def _tell(
        self,
        path: bytes,
        rule: str,
        level: Level,
        reason: str,
        by: Runner | None,
        *,
        expected: Entry | None = None,
        actual: Entry | None = None,
        change: Change = Change.EXECUTED,
        changed_at: float = 0.0,
    ) -> None:
        key = (path, rule, reason)
        if key in self.findings:
            return
        shown = path if path.startswith(b"/") else b"/" + path
        difference = Difference(path=shown, change=change, expected=expected or self.baseline.find(shown), actual=actual, reason=reason)
        self.findings[key] = Finding(
            container=self.look.container,
            difference=difference,
            level=level,
            rule=rule,
            scope=Scope.LIVE,
            baseline_root=self.baseline.root,
            grade=self.baseline.grade,
            observed_at=self.look.at,
            changed_at=changed_at,
            process=f"{display_path(by.executable, 200)} ({by})" if by is not None else "",
        )


@dataclass(frozen=True, slots=True)
class _Undeclared:
    """`lost`: the restrictions that a declared mount no longer has; `is_second`: it lies over a declared one, or in its place."""

    mount: MountSeen
    lost: str = ""
    is_second: bool = False


def _undeclared(baseline: Baseline, mounted: Mounted, mounts: Iterable[MountSeen], making: _Making) -> Iterable[_Undeclared]:
    """6. What is mounted beyond the configuration; a private table counts where it has what the container's own has not."""
    declared: dict[bytes, list[DeclaredMount]] = {}
    for one in mounted.mounts:
        declared.setdefault(_resolved(baseline, one.target), []).append(one)
    seen: Counter[bytes] = Counter()
    known = {(m.target, m.device, m.root, m.kind) for m in mounts if m.by is None}
    for mount in mounts:
        if mount.by is not None and (mount.target, mount.device, mount.root, mount.kind) in known:
            continue
        if mount.target == b"/" and mount.device == mounted.device and mount.root == b"/":
            if mounted.is_read_only and "ro" not in mount.flags and mount.by is None:
                yield _Undeclared(mount, lost="ro")
            continue
        if mount.target in declared:
            seen[mount.target] += mount.by is None
            if mount.by is None and not mount.is_other and seen[mount.target] <= len(declared[mount.target]):
                lost = _lost(declared[mount.target][0], mount) if len(declared[mount.target]) == 1 else ""
                if lost:
                    yield _Undeclared(mount, lost=lost)
            else:
                yield _Undeclared(mount, is_second=True)
            continue
        above = next((a for a in ancestors(mount.target) if a in declared), None)
        if above is not None:
            making.count_below(mount, above)
        else:
            yield _Undeclared(mount)


def _missing(baseline: Baseline, mounted: Mounted, mounts: Iterable[MountSeen]) -> Iterable[DeclaredMount]:
    """6. What is configured and not there, where that can be told: not in a table that shows only a part of the mounts, as that of a first
    process that changed its root; not below another volume, whose links nobody knows; not what only hides a path of the runtime's."""
    own = [mount for mount in mounts if mount.by is None]
    if not any((m.target, m.device, m.root) == (b"/", mounted.device, b"/") for m in own):
        return
    there = {mount.target for mount in own}
    targets = {_resolved(baseline, one.target) for one in mounted.mounts if one.kind != "masked"}
    volumes = {target for target in targets if not any(_is_at_or_below(target, runtime) for runtime in _OF_THE_RUNTIME)}
    for one in mounted.mounts:
        target = _resolved(baseline, one.target)
        if one.kind != "masked" and target not in there and volumes.isdisjoint(ancestors(target)):
            yield one


def _lost(declared: DeclaredMount, mount: MountSeen) -> str:
    """The restrictions that the configuration has and the mount has not; the last of two opposite options counts. For control groups of
    version 1 the runtime mounts a writable directory of its own making, and the hierarchies in it as configured (config-linux.md)."""
    if declared.kind == "cgroup" and mount.kind == b"tmpfs":
        return ""
    wanted = []
    for restriction, opposite in _RESTRICTIONS.items():
        said = [option for option in declared.options if option in (restriction, opposite)]
        if said and said[-1] == restriction and restriction not in mount.flags:
            wanted.append(restriction)
    return ",".join(wanted)


def _resolved(baseline: Baseline, target: bytes) -> bytes:
    return resolve(target, baseline.find) or target


def _is_at_or_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")


def _weigh(finding: Finding) -> tuple[object, ...]:
    """What is told first. Whoever fills a volume with programs hides nothing else."""
    return finding.difference.change is Change.ADDED, -finding.level, finding.difference.path, finding.rule


def _describe(run: Run, where: str) -> str:
    return f"{'mapped to be executed' if run.is_mapped else 'executed'}, {where}"


def _describe_mount(mount: MountSeen) -> str:
    inside = f", its {display_path(mount.root, 120)}" if mount.root != b"/" else ""
    return f"{display_path(mount.kind, 40)} from {display_path(mount.source, 120)}{inside} ({','.join(mount.flags)[:80]})"


def _entry(run: Run) -> Entry | None:
    """What is known of a file that only runs; None where nobody could read it."""
    if run.digest is None:
        return None
    return Entry(path=run.path, kind=Kind.FILE, mode=run.mode, size_bytes=run.size_bytes, digest=run.digest)
