"""A leaf is written one way only, and nothing a container or a node says can keep it from being written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.audit.record import MAX_INTEGER, Leaf, encode_leaf, format_time, parse_leaf, parse_time, write_bytes, write_text
from intact.audit.steps import record_clean, record_finding, record_gap, record_verdict
from intact.audit.tally import EACH, CleanTally, RestlessTally
from intact.model.bytestext import escape_bytes, unescape_bytes
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.finding import Aggregate, Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope, Unobserved
from intact.model.seam import Gap

CONTAINER = Container(id="c1", name="web", image="web:1", image_key=None, node="n1", pod=Pod(namespace="shop", name="web-1", uid="u1"))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), inner, max_size=3),
    max_leaves=10,
)
BODIES = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), JSON, max_size=4)
LEAVES = st.builds(
    Leaf, kind=TEXTS, at=st.integers(0, 4 * 10**15).map(lambda n: n / 1e6), body=BODIES, node=TEXTS, workload=TEXTS, incident=TEXTS
)


@given(LEAVES)
def test_a_leaf_reads_back_as_it_was_written(leaf: Leaf) -> None:
    assert parse_leaf(encode_leaf(leaf)) == leaf


@given(LEAVES)
def test_any_other_spelling_of_a_leaf_is_refused(leaf: Leaf) -> None:
    other = json.dumps(json.loads(encode_leaf(leaf)), indent=1).encode()
    with pytest.raises(InputError, match="canonical"):
        parse_leaf(other)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_time_can_be_written(at: float) -> None:
    text = format_time(at)
    assert text.startswith("unix:") or parse_time(text) == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize("body", [{"a": 0.5}, {"A": 1}, {"a": 2**53}, {"a": (1,)}, {"a": b"x"}, {"a": "\udc80"}])
def test_what_readers_would_read_differently_is_never_written(body: dict[str, object]) -> None:
    with pytest.raises(InputError):
        encode_leaf(Leaf(kind="k", at=0.0, body=body))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"[" * 50_000, b'{"a":' + b"9" * 5000 + b"}", b"x" * (2 << 20)])
def test_what_is_no_leaf_is_refused_without_a_traceback(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_leaf(data)


def make_finding(path: bytes, **wrong: object) -> Finding:
    entry = Entry(path=path, kind=Kind.FILE, mode=0o644, digest=Digest.of(b"x"), **wrong)  # type: ignore[arg-type]
    return Finding(
        container=CONTAINER,
        difference=Difference(path=path, change=Change.ADDED, expected=None, actual=entry),
        level=Level.HIGH,
        rule="r",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b"root"),
        grade=Grade.VERIFIED,
        observed_at=1.0,
    )


@given(st.binary(min_size=1, max_size=30))
def test_a_hostile_name_is_recorded_byte_for_byte(name: bytes) -> None:
    leaf = parse_leaf(encode_leaf(record_finding(make_finding(b"/" + name), workload=None, incident="i", now=2.0)))
    assert unescape_bytes(str(leaf.body["path"])) == b"/" + name


def test_a_node_cannot_make_a_finding_unwritable() -> None:
    hostile = make_finding(
        b"/" + b"a" * 100_000, uid=2**64, size_bytes=-(2**70), xattrs=tuple((b"user.%d" % n, b"v" * 60_000) for n in range(500))
    )
    assert len(encode_leaf(record_finding(hostile, workload=None, incident="", now=1.0))) < 100_000
    gap = Gap(since=math.nan, until=math.inf, reason="\ud800" * 10_000, events_lost=10**40)
    assert b"unix:nan" in encode_leaf(record_gap("n", gap, now=1.0))


def test_what_is_cut_says_so_and_cannot_be_mistaken_for_something_whole() -> None:
    cut = write_bytes(b"a" * 5000)
    assert ":" in cut and "5000" in cut
    with pytest.raises(InputError):
        unescape_bytes(cut)
    assert write_bytes(b"\xff\\") == escape_bytes(b"\xff\\")
    assert write_text("b" * 5000).endswith("(5000 characters)")


def make_verdict(container: str, at: float) -> Verdict:
    running = Container(id=container, name=container, image="i", image_key=None, node="n1")
    return Verdict(container=running, state=State.INTACT, scope=Scope.DRIFT, compared=3, at=at)


def test_clean_verdicts_of_an_interval_are_one_leaf_per_node() -> None:
    tally = CleanTally(interval_s=60)
    for at in range(0, 50, 10):
        assert tally.add(make_verdict("a", at), at) == tally.add(make_verdict("b", at), at) == ()
    assert tally.due(59.0) == ()
    (leaf,) = tally.due(60.0)
    assert leaf.body["looks"] == 10
    containers = leaf.body["containers"]
    assert isinstance(containers, list)
    assert [(c["container"], c["observed_at"]) for c in containers] == [("a", format_time(40)), ("b", format_time(40))]
    assert tally.due(1000.0) == tally.flush(1000.0) == ()
    encode_leaf(leaf)


def test_of_a_container_that_differs_again_and_again_the_first_looks_and_the_last_are_recorded() -> None:
    tally = RestlessTally(interval_s=60)
    drifted = replace(make_verdict("a", 0.0), state=State.DRIFTED)
    looks = [leaf for at in range(40) for leaf in tally.add(replace(drifted, at=float(at)), None, float(at))]
    assert [leaf.body["observed_at"] for leaf in looks] == [format_time(at) for at in range(EACH)]
    (blind,) = tally.add(replace(drifted, state=State.UNOBSERVED, at=41.0), None, 41.0)
    assert blind.body["state"] == "Unobserved", "the first of another state is never held"
    assert tally.add(replace(drifted, container=make_verdict("b", 0.0).container), None, 42.0), "another container is another matter"
    assert tally.due(59.0) == ()
    (last,) = tally.due(60.0)
    assert (last.body["stands_for"], last.body["since"], last.body["observed_at"]) == (40 - EACH, format_time(EACH), format_time(39))
    encode_leaf(last)
    (first,) = tally.add(replace(drifted, at=61.0), None, 61.0)
    assert "stands_for" not in first.body, "a new interval begins with the first"
    assert tally.flush() == (), "nothing was held since"


def test_what_is_held_is_written_before_a_later_look_that_is_recorded() -> None:
    tally = RestlessTally(interval_s=60)
    drifted = replace(make_verdict("a", 0.0), state=State.DRIFTED)
    for at in range(EACH + 5):
        tally.add(replace(drifted, at=float(at)), None, float(at))
    held, now = tally.add(replace(drifted, at=100.0), None, 100.0)
    assert (held.body["stands_for"], now.body["observed_at"]) == (5, format_time(100.0))


def test_a_verdict_of_any_size_is_recorded() -> None:
    hostile = Container(id="\x01" * 9999, name="\x01" * 9999, image="\x01" * 9999, image_key=None, node="\x01" * 9999)
    unobserved = tuple(Unobserved(path=b"/" + b"\x01" * 9999, reason="\x01" * 9999) for _ in range(1000))
    aggregates = tuple(Aggregate(pattern="\x01" * 9999, rule="\x01" * 9999, count=2**70) for _ in range(1000))
    verdict = Verdict(
        container=hostile, state=State.UNOBSERVED, scope=Scope.DRIFT, unobserved=unobserved, aggregates=aggregates, compared=2**70
    )
    assert parse_leaf(encode_leaf(record_verdict(verdict, workload=None, now=1.0))).kind == "Verdict"
    clean = replace(verdict, state=State.INTACT)
    leaf = parse_leaf(encode_leaf(record_clean("n", [clean] * 200, since=0.0, looks=200, now=1.0)))
    assert leaf.body.keys() == {"oversized_bytes", "oversized_sha256"}
