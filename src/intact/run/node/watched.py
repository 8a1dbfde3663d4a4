"""One container as the node flow remembers it between looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from intact.compare.redact import redact_arguments
from intact.model.container import Running
from intact.model.entry import display_path
from intact.model.finding import Finding, State, Verdict
from intact.model.layer import Baseline, Grade
from intact.model.live import VolumeLook
from intact.model.observation import Scope
from intact.model.process import Ancestor, Writer
from intact.model.seam import Coverage, PlannedLevel
from intact.observe.owners import map_id
from intact.observe.ports import Process

MAX_WRITERS = 4096
ARGUMENT_BYTES = 512
HEARD_LATE_S = 2.0
"""A file that changed so much later than its last ring was changed by somebody who was not heard."""
MAX_COUNTED = 1024
MAX_EXECUTED_SAID = 4096
EXITED = "a process that has exited"
UNWATCHED = "not watched: the mode of its policy is Off"
EVENT_FLOOD = "EventFlood: it changes faster than can be followed; looked at by the clock until it is quiet"


@dataclass(frozen=True, slots=True)
class Heard:
    """Who touched a path last, None where nobody can name it; `at` is when that was heard, in Unix seconds."""

    writer: Writer | None
    at: float


@dataclass(slots=True)
class Watched:
    """`reason` says why it is not, or not fully, seen. `said` is what was told last, per scope. `writers` says who touched a path, by what
    the doorbell heard; a path nobody was heard to touch is not there."""

    running: Running
    baseline: Baseline | None = None
    reason: str = "waiting for the baseline"
    retry_at: float = 0.0
    is_on: bool = True
    is_flooding: bool = False
    """It changes faster than can be followed."""
    whole_look_s: float = 0.0
    """How long the last look at all of it took."""
    notice: str = ""
    """What else is to be said of how it is seen, though it is."""
    ended_at: float = 0.0
    """When it was found to have ended, by the steady clock; 0 while it runs."""
    is_owed: bool = False
    """Whether a verdict is to be told though it says nothing new, as soon as it is known."""
    drift: Verdict | None = None
    layers: Verdict | None = None
    layers_read_at: float = 0.0
    """When the oldest of its read-only layers was read, all of it; 0 before they were, however much is known of them."""
    count_unverified: Callable[[], int | None] = lambda: None
    """How many bytes of its read-only layers are not verified; None where nobody knows."""
    live: Verdict | None = None
    live_facts: object = None
    with_volumes: bool = False
    """Whether programs that run from its volumes, or come there, are told."""
    volumes: VolumeLook | None = None
    """What the last look at them found."""
    levels: tuple[PlannedLevel, ...] = ()
    """What is told of it besides what the default rules tell."""
    is_reading_layers: bool = False
    read_layers_again: bool = False
    said: dict[Scope, object] = field(default_factory=dict)
    counted: set[tuple[str, str]] = field(default_factory=set)
    writers: dict[bytes, Heard] = field(default_factory=dict)
    executed: dict[bytes, Writer | None] = field(default_factory=dict)
    """Files of the writable layer that were executed, and by whom, until they have been looked at."""
    replaced: set[bytes] = field(default_factory=set)
    """Those of `executed` that were not there any more soon after."""
    executed_at: float = 0.0
    """Not before then, by the steady clock, are they looked at."""
    executed_said: set[str] = field(default_factory=set)
    """The ids of executions that were told."""
    remember: Callable[[str], Writer | None] = lambda finding_id: None
    """Who did a finding, by its id, as far as that was known before this process began."""

    def new_counts(self, verdict: Verdict) -> set[tuple[str, str]]:
        """The rules and patterns by which something is counted for the first time; beyond `MAX_COUNTED` none is new any more."""
        if len(self.counted) >= MAX_COUNTED:
            return set()
        return {(one.rule, one.pattern) for one in verdict.aggregates} - self.counted

    def wants_baseline(self, now: float) -> bool:
        """Whether it is time to ask for one: there is none, or only what the first look at the layers gave."""
        weak = self.baseline is None or self.baseline.grade is Grade.FIRST_SEEN
        return weak and self.running.mounted is not None and now >= self.retry_at

    def doubt(self, reason: str) -> None:
        """Its baseline counts no more, nor does what was seen by it: nothing is known until it was obtained again."""
        self.baseline, self.reason, self.retry_at = None, reason, 0.0
        self.drift = self.layers = self.live = None
        self.layers_read_at, self.count_unverified = 0.0, lambda: None

    def note_writers(self, writers: Mapping[bytes, Process | None], heard_at: float) -> None:
        """A process that nobody can name leaves the name that was known before. The path heard of longest ago is forgotten first."""
        known: dict[tuple[int, int], Writer] = {}
        for path, process in writers.items():
            before = self.writers.pop(path, None)
            writer = before.writer if before is not None else None
            if process is not None:
                key = process.pid, process.started_ticks
                writer = known[key] if key in known else known.setdefault(key, self._identify(process))
            self.writers[path] = Heard(writer, heard_at)
        while len(self.writers) > MAX_WRITERS:
            del self.writers[next(iter(self.writers))]

    def note_executed(self, executed: Mapping[bytes, Process | None]) -> int:
        """At most `MAX_WRITERS` different files between two looks; how many were left out."""
        left_out = 0
        for path, process in executed.items():
            if path in self.executed or len(self.executed) < MAX_WRITERS:
                self.executed.setdefault(path, None if process is None else self._identify(process))
            else:
                left_out += 1
        return left_out

    def outpaces_rings(self, findings: Iterable[Finding]) -> bool:
        """Whether one of `findings` was looked at before anybody was heard to make it, as far as is known here."""
        for finding in findings:
            heard, is_there = self.writers.get(finding.difference.path), finding.difference.actual is not None
            if heard is None and self.remember(finding.id) is None:
                return True
            if heard is not None and is_there and finding.changed_at > heard.at:
                return True
        return False

    def note_said(self, findings: Iterable[Finding]) -> None:
        """What ran was told. What runs now is told again: this was the last word on what ran, not on what does."""
        if len(self.executed_said) >= MAX_EXECUTED_SAID:
            self.executed_said.clear()
        self.executed_said.update(one.id for one in findings)
        self.said.pop(Scope.LIVE, None)

    def sign(self, verdict: Verdict) -> Verdict:
        """`verdict` with who did it, where somebody was heard."""
        return replace(verdict, findings=tuple(map(self._sign_finding, verdict.findings)))

    def _sign_finding(self, finding: Finding) -> Finding:
        """What was changed later than anybody was heard, through a mapping, is nobody's."""
        heard = self.writers.get(finding.difference.path)
        if heard is None:
            writer = self.remember(finding.id)
            return finding if writer is None else replace(finding, writer=writer, process=describe_writer(writer))
        if finding.difference.actual is not None and finding.changed_at > heard.at + HEARD_LATE_S:
            return finding
        return replace(finding, writer=heard.writer, process=EXITED if heard.writer is None else describe_writer(heard.writer))

    def _identify(self, process: Process) -> Writer:
        """As the container sees it."""
        mounted = self.running.mounted
        uid = None if process.uid is None else map_id(process.uid, mounted.uid_map if mounted is not None else ())
        is_known = mounted is not None and process.root_device is not None
        return Writer(
            pid=process.pid,
            executable=process.executable,
            name=process.name,
            arguments=_shorten(redact_arguments(process.arguments)),
            parents=process.parents or (Ancestor(pid=process.parent_pid, executable=b""),),
            uid=uid,
            started_at=process.started_at,
            has_exited=process.has_exited,
            is_inside=mounted.device == process.root_device if is_known and mounted is not None else None,
        )

    def cover(self) -> Coverage:
        """What is said of it in the node's coverage."""
        verdicts = [verdict for verdict in (self.drift, self.layers, self.live) if verdict is not None]
        states = [v.state for v in verdicts]
        worst = next((s for s in (State.DRIFTED, State.UNOBSERVED, State.INTACT) if s in states), None)
        if self.running.mounted is None or not self.is_on:
            worst = State.UNOBSERVED
        unseen = [f"{display_path(u.path, 200)}: {u.reason}" for v in verdicts for u in v.unobserved]
        reason = (self.reason or (EVENT_FLOOD if self.is_flooding else "")) if self.is_on else UNWATCHED
        return Coverage(
            container=self.running.container,
            verdict=worst.value if worst else "Pending",
            baseline_root=self.baseline.root if self.baseline else None,
            grade=self.baseline.grade.title if self.baseline else "",
            verified_at=self.drift.at if self.drift else 0.0,
            layers_verified_at=self.layers_read_at,
            layers_unverified_bytes=self.count_unverified(),
            reason=reason or (unseen[0] if unseen and worst is State.UNOBSERVED else self.notice),
            algorithms=str(self.baseline.algorithms) if self.baseline else "sha256",
        )


def _shorten(arguments: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """No more of them than people read: `ARGUMENT_BYTES` altogether."""
    left, kept = ARGUMENT_BYTES, []
    for argument in arguments:
        if left <= 0:
            break
        kept.append(argument[:left])
        left -= len(argument) + 1
    return tuple(kept)


def describe_writer(writer: Writer) -> str:
    """`/usr/bin/dash sh -c … (pid 12, parent 7 /usr/bin/containerd-shim, user 33, exited)`, bounded and without control characters."""
    words = b" ".join(writer.arguments) or (writer.name if not writer.executable.endswith(b"/" + writer.name) else b"")
    about = [f"pid {writer.pid}"]
    if writer.parents:
        parent = writer.parents[0]
        about.append(f"parent {parent.pid} {_name_program(parent.executable, 100)}".rstrip())
    if writer.uid is not None:
        about.append(f"user {writer.uid}")
    if writer.has_exited:
        about.append("exited")
    said = f"{_name_program(writer.executable, 200)} {display_path(words, 200)}".rstrip()
    return f"{said} ({', '.join(about)})"


def _name_program(path: bytes, limit: int) -> str:
    """A program of a mount that is attached nowhere, as runc copies itself to, is `/` for the kernel."""
    return display_path(path, limit) if path != b"/" else "(no path)"


def merge(before: Verdict | None, partial: Verdict, paths: frozenset[bytes]) -> Verdict:
    """The verdict on the whole container after a look at only `paths` (one that ends in a slash: with all below it): what was found
    elsewhere before still holds."""
    if before is None:
        return partial

    def looked_at(path: bytes) -> bool:
        return path in paths or any(path.startswith(p) or path == p[:-1] for p in paths if p.endswith(b"/"))

    kept = tuple(f for f in before.findings if not looked_at(f.difference.path))
    known = {f.id for f in kept}
    findings = kept + tuple(f for f in partial.findings if f.id not in known)
    unobserved = tuple(dict.fromkeys([*(u for u in before.unobserved if not looked_at(u.path)), *partial.unobserved]))
    state = State.DRIFTED if findings else State.UNOBSERVED if unobserved else State.INTACT
    return replace(partial, state=state, findings=findings, aggregates=before.aggregates, unobserved=unobserved, compared=before.compared)
