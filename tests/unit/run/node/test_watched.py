"""What a look at some paths says of the whole container, and who is named."""

from __future__ import annotations

from dataclasses import replace

from intact.model.container import Container, Mounted, Running
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Aggregate, Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Baseline, Grade
from intact.model.observation import Scope
from intact.observe.ports import Process
from intact.run.node.watched import ARGUMENT_BYTES, EXITED, MAX_COUNTED, MAX_WRITERS, Watched, merge

CONTAINER = Container(id="c", name="c", image="i", image_key=None, node="n")
SHELL = Process(pid=7, parent_pid=1, executable=b"/bin/sh\x1b[2J", arguments=(b"sh", b"-c", b"x"), started_ticks=1, root_device=None)


def finding(path: bytes) -> Finding:
    actual = Entry(path=path, kind=Kind.FILE, mode=0o644)
    return Finding(
        container=CONTAINER,
        difference=Difference(path=path, change=Change.ADDED, expected=None, actual=actual),
        level=Level.HIGH,
        rule="code-added",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        observed_at=1.0,
    )


def verdict(*paths: bytes) -> Verdict:
    state = State.DRIFTED if paths else State.INTACT
    return Verdict(container=CONTAINER, state=state, scope=Scope.DRIFT, findings=tuple(finding(path) for path in paths))


def test_what_is_counted_for_the_first_time_is_news_and_later_not() -> None:
    watched = Watched(running=Running(container=CONTAINER, init_pid=1, mounted=None, unobservable="fake"))
    scratch = Aggregate(pattern="/srv/uploads/*.php", rule="code-in-scratch", count=1)
    assert watched.new_counts(replace(verdict(), aggregates=(scratch,))) == {("code-in-scratch", "/srv/uploads/*.php")}
    watched.counted |= {("code-in-scratch", "/srv/uploads/*.php")}
    assert watched.new_counts(replace(verdict(), aggregates=(replace(scratch, count=9),))) == set()
    watched.counted |= {("data-added", f"/{number}") for number in range(MAX_COUNTED)}
    assert watched.new_counts(replace(verdict(), aggregates=(replace(scratch, pattern="/x"),))) == set()


def paths(verdict: Verdict) -> set[bytes]:
    return {found.difference.path for found in verdict.findings}


def test_what_was_found_elsewhere_still_holds() -> None:
    merged = merge(verdict(b"/etc/a", b"/srv/b"), verdict(), frozenset({b"/etc/a"}))
    assert paths(merged) == {b"/srv/b"} and merged.state is State.DRIFTED


def test_a_path_speaks_of_itself_and_one_with_a_slash_of_all_below() -> None:
    before = verdict(b"/etc", b"/etc/a", b"/etcetera")
    assert paths(merge(before, verdict(), frozenset({b"/etc"}))) == {b"/etc/a", b"/etcetera"}
    assert paths(merge(before, verdict(), frozenset({b"/etc/"}))) == {b"/etcetera"}


def test_the_last_finding_gone_is_an_intact_container() -> None:
    assert merge(verdict(b"/a"), verdict(), frozenset({b"/a"})).state is State.INTACT


def test_a_finding_names_who_was_heard_and_nobody_else() -> None:
    watched = Watched(running=Running(container=CONTAINER, init_pid=1, mounted=None, unobservable="fake"))
    watched.note_writers({b"/a": SHELL, b"/b": None}, 1.0)
    watched.note_writers({b"/a": None}, 2.0)
    said = {f.difference.path: f.process for f in watched.sign(verdict(b"/a", b"/b", b"/c")).findings}
    assert said[b"/b"] == EXITED and said[b"/c"] == ""
    assert "pid 7, parent 1" in said[b"/a"] and "\x1b" not in said[b"/a"]


def test_what_changed_after_the_last_that_was_heard_is_nobodys() -> None:
    watched = Watched(running=Running(container=CONTAINER, init_pid=1, mounted=None, unobservable="fake"))
    watched.note_writers({b"/a": SHELL}, 100.0)
    heard, later = replace(finding(b"/a"), changed_at=99.9), replace(finding(b"/a"), changed_at=103.0)
    signed = watched.sign(Verdict(container=CONTAINER, state=State.DRIFTED, scope=Scope.DRIFT, findings=(heard, later))).findings
    assert signed[0].writer is not None and signed[0].writer.pid == 7
    assert signed[1].writer is None and signed[1].process == ""


def test_no_number_of_writers_takes_more_than_its_room() -> None:
    watched = Watched(running=Running(container=CONTAINER, init_pid=1, mounted=None, unobservable="fake"))
    chatty = replace(SHELL, arguments=(b"x" * 4000,) * 3)
    for number in range(3):
        watched.note_writers({b"/%d/%d" % (number, path): chatty for path in range(MAX_WRITERS)}, float(number))
    assert len(watched.writers) == MAX_WRITERS and set(watched.writers) == {b"/2/%d" % path for path in range(MAX_WRITERS)}
    assert len({id(heard.writer) for heard in watched.writers.values()}) == 1
    (heard, *_) = watched.writers.values()
    assert heard.writer is not None and sum(map(len, heard.writer.arguments)) <= ARGUMENT_BYTES


def test_a_better_baseline_is_asked_for_where_there_is_none_or_only_a_first_sight_and_not_before_its_time() -> None:
    mounted = Mounted(upper=b"/u", lowers=(b"/l",), device=1)
    watched = Watched(running=Running(container=CONTAINER, init_pid=1, mounted=mounted), retry_at=10.0)
    seen = Baseline(key=Digest.of(b"image"), layers=(), grade=Grade.FIRST_SEEN, source="first-sight:x")
    for baseline, wanted in ((None, True), (seen, True), (replace(seen, grade=Grade.VERIFIED), False)):
        watched.baseline = baseline
        assert watched.wants_baseline(10.0) is wanted
        assert not watched.wants_baseline(9.9)
