"""A start profile excuses what entry points do before Ready, the same in several pods, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.decide.start import (
    EXCUSABLE,
    MAX_ENTRIES,
    MAX_START_S,
    MAX_WITNESSES,
    Word,
    describe_start,
    find_ready,
    know,
    learn,
    tell_moment,
    tell_place,
)
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding
from intact.model.incident import PodFacts
from intact.model.observation import Scope
from intact.model.start import Moment, StartProfile, Template, Witness
from tests.unit.decide.cases import WEB, found, pod

STARTED, READY = 1000.25, 1008.0
TEMPLATE = Template(workload=WEB, name="t1", container="web", image="sha256:" + "a" * 64)
NOBODY = StartProfile(template=TEMPLATE)
CONF = b"/etc/nginx/nginx.conf"


def facts(*, is_ready: bool | None = True, since: float = READY) -> PodFacts:
    return replace(found(pod("a", "n1")).pod, template="t1", is_ready=is_ready, ready_since=since)


def change(path: bytes = CONF, content: bytes = b"made", *, rule: str = "image-file-changed", mode: int = 0o644, lines: bytes = b"",
           scope: Scope = Scope.DRIFT) -> Finding:  # fmt: skip
    actual = Entry(path=path, kind=Kind.FILE, mode=mode, size_bytes=len(content), digest=Digest.of(content))
    one = found(pod("a", "n1"), path=path, rule_id=rule, change=Change.MODIFIED, actual=actual, scope=scope).finding
    return replace(one, lines=Digest.of(lines) if lines else None)


def saw(name: str, node: str, *findings: Finding) -> Witness:
    entries = tuple(entry for finding in findings if (entry := describe_start(finding)) is not None)
    return Witness(pod_uid=f"uid-{name}", pod=name, node=node, entries=entries)


def profile_of(*witnesses: Witness) -> StartProfile:
    profile = NOBODY
    for witness in witnesses:
        profile = learn(profile, witness)
    return profile


def word(profile: StartProfile, finding: Finding, moment: Moment = Moment.START, *, is_spread: bool = True) -> Word:
    return know(profile, is_spread=is_spread).say(finding, moment)


BOTH = profile_of(saw("a", "n1", change()), saw("b", "n2", change()))


@pytest.mark.parametrize(
    ("changed_at", "moment"),
    [
        (1000.2, Moment.START),
        (READY, Moment.START),
        (READY + 0.999, Moment.START),  # Kubernetes does not say when in that second it was
        (READY + 1.0, Moment.LATER),
        (0.0, Moment.LATER),
    ],
)
def test_ready_is_known_in_whole_seconds(changed_at: float, moment: Moment) -> None:
    assert tell_moment(changed_at, STARTED, facts()) is moment


def test_where_no_probe_says_when_a_pod_is_ready_its_second_is_no_start() -> None:
    assert tell_moment(READY + 0.05, STARTED, replace(facts(), is_probed=False)) is Moment.LATER


def test_a_pod_of_which_its_kubelet_has_said_nothing_yet_is_starting() -> None:
    assert tell_moment(STARTED + 0.1, STARTED, facts(is_ready=False, since=0.0)) is Moment.START


@pytest.mark.parametrize("moment", [Moment.UNCLEAR, Moment.LATER])
def test_what_may_have_been_made_after_ready_is_never_told_as_an_info(moment: Moment) -> None:
    assert word(NOBODY, change(), moment) is Word.COUNTS
    assert word(BOTH, change(content=b"another"), moment) is Word.COUNTS


def test_a_pod_that_is_not_ready_yet_is_starting_but_not_for_ever() -> None:
    waiting = facts(is_ready=False, since=999.0)
    assert tell_moment(STARTED + 1, STARTED, waiting) is Moment.START
    assert tell_moment(STARTED + MAX_START_S + 1, STARTED, waiting) is Moment.LATER


def test_a_pod_that_was_ready_and_is_not_any_more_is_not_starting() -> None:
    assert tell_moment(1030.0, STARTED, facts(is_ready=False, since=1020.0)) is Moment.UNCLEAR
    assert tell_moment(1030.0, STARTED, facts(is_ready=True, since=1040.0), ready_at=READY) is Moment.LATER, "it was ready before"


def test_a_condition_that_is_older_than_the_container_says_nothing_of_it() -> None:
    restarted = READY + 100.5
    assert find_ready(restarted, facts()) is None
    assert tell_moment(restarted + 1, restarted, facts()) is Moment.UNCLEAR
    assert find_ready(READY + 0.9, facts()) == READY, "a pod can be ready in the second in which its container starts"


@pytest.mark.parametrize("unknown", [facts(is_ready=None), facts(since=0.0)])
def test_without_readiness_nothing_is_a_start(unknown: PodFacts) -> None:
    assert tell_moment(1001.0, STARTED, unknown) is Moment.LATER
    assert tell_moment(1001.0, 0.0, facts()) is Moment.LATER


def test_the_first_pod_gives_an_info_the_second_makes_a_profile() -> None:
    assert word(NOBODY, change()) is Word.FIRST
    one = profile_of(saw("a", "n1", change()))
    assert not know(one, is_spread=True).is_established and word(one, change()) is Word.FIRST
    assert know(BOTH, is_spread=True).is_established
    assert word(BOTH, change()) is word(BOTH, change(), Moment.UNCLEAR) is Word.EXPECTED


def test_two_pods_of_one_node_are_not_enough_where_there_are_two_nodes() -> None:
    near = profile_of(saw("a", "n1", change()), saw("b", "n1", change()))
    assert word(near, change(), is_spread=True) is Word.FIRST
    assert word(near, change(), is_spread=False) is Word.EXPECTED
    far = learn(near, saw("c", "n2"))
    assert word(far, change(), is_spread=True) is Word.COUNTS, "the other node's pod did nothing of the kind"


@pytest.mark.parametrize(
    "other",
    [
        change(content=b"evil"),
        change(mode=0o666),
        change(b"/etc/nginx/other.conf"),
        change(rule="privilege-bits"),
        change(scope=Scope.LAYERS),
    ],
)
def test_what_is_not_in_an_established_profile_counts_at_once(other: Finding) -> None:
    assert word(BOTH, other) is Word.COUNTS


def test_pods_that_start_with_nothing_are_a_profile_too() -> None:
    clean = profile_of(saw("a", "n1"), saw("b", "n2"))
    assert word(clean, change()) is Word.COUNTS


def test_the_same_lines_in_another_order_are_the_same() -> None:
    first, second, third = (change(content=text, lines=b"set") for text in (b"a\nb\n", b"b\na\n", b"b\nb\na\n"))
    profile = profile_of(saw("a", "n1", first), saw("b", "n2", second))
    assert word(profile, third) is Word.EXPECTED
    assert word(profile, change(content=b"a\nb\nc\n", lines=b"more")) is Word.COUNTS


def test_what_differs_in_every_pod_varies_only_at_the_start_and_is_never_a_program() -> None:
    key = b"/etc/ssh/ssh_host_rsa_key"
    made = [change(key, content, rule="control-file-added", mode=0o600) for content in (b"1", b"2", b"3")]
    profile = profile_of(saw("a", "n1", made[0]), saw("b", "n2", made[1]))
    assert word(profile, made[2]) is Word.VARIES
    assert word(profile, made[2], Moment.UNCLEAR) is word(profile, made[2], Moment.LATER) is Word.COUNTS
    assert word(profile, replace(made[2], difference=change(key, b"3", mode=0o644).difference)) is Word.COUNTS
    program = [change(b"/etc/init.d/x", content, mode=0o755) for content in (b"1", b"2", b"3")]
    assert word(profile_of(saw("a", "n1", program[0]), saw("b", "n2", program[1])), program[2]) is Word.COUNTS


def test_one_pod_that_was_tampered_with_at_its_start_does_not_make_a_file_vary_for_long() -> None:
    honest, evil = change(content=b"honest"), change(content=b"evil")
    assert word(profile_of(saw("a", "n1", honest), saw("b", "n2", evil)), evil) is Word.VARIES, "nobody can tell yet which is right"
    profile = profile_of(saw("a", "n1", honest), saw("b", "n2", evil), saw("c", "n3", honest))
    assert (word(profile, honest), word(profile, evil)) == (Word.EXPECTED, Word.COUNTS)


def test_a_removed_file_can_be_in_a_profile() -> None:
    gone = replace(change(), difference=Difference(path=CONF, change=Change.DELETED, expected=None, actual=None))
    assert word(profile_of(saw("a", "n1", gone), saw("b", "n2", gone)), gone) is Word.EXPECTED
    assert word(BOTH, gone) is Word.COUNTS


def test_a_file_that_nobody_read_is_in_no_profile() -> None:
    actual = Entry(path=CONF, kind=Kind.FILE, mode=0o644)
    unread = replace(change(), difference=Difference(path=CONF, change=Change.MODIFIED, expected=None, actual=actual))
    assert describe_start(unread) is None and word(NOBODY, unread) is Word.COUNTS


def test_a_profile_is_bounded_whoever_floods_it() -> None:
    many = [change(b"/etc/x%05d" % number) for number in range(MAX_ENTRIES + 50)]
    profile = profile_of(*(saw(f"{number:02}", f"n{number % 2}", *many) for number in range(MAX_WITNESSES + 3)))
    assert len(profile.witnesses) == MAX_WITNESSES and {len(one.entries) for one in profile.witnesses} == {MAX_ENTRIES}
    assert len(know(profile, is_spread=True).expected) == MAX_ENTRIES
    assert word(profile, many[-1]) is Word.COUNTS


@pytest.mark.parametrize("rule", ["privilege-bits", "device-node-added", "read-only-layer-changed", "whatever-comes-next"])
def test_rules_that_speak_of_more_than_content_are_never_excused(rule: str) -> None:
    assert rule not in EXCUSABLE
    one = change(rule=rule)
    assert word(profile_of(saw("a", "n1", one), saw("b", "n2", one)), one) is word(NOBODY, one) is Word.COUNTS


def test_what_may_have_been_put_there_later_is_expected_only_as_it_is_known_to_start() -> None:
    for placed_at, moment in ((0.0, Moment.START), (READY - 1, Moment.START), (READY + 500, Moment.UNCLEAR)):
        assert tell_place(Moment.START, placed_at, STARTED, facts()) is moment
    assert tell_place(Moment.LATER, READY - 1, STARTED, facts()) is Moment.LATER
    key = b"/etc/ssh/ssh_host_rsa_key"
    one, other = (change(key, content, rule="control-file-added", mode=0o600) for content in (b"1", b"2"))
    profile = profile_of(saw("a", "n1", one), saw("b", "n2", other))
    assert know(profile, is_spread=True, pod_uid="uid-a").say(one, Moment.UNCLEAR) is Word.EXPECTED, "frozen in this pod"
    assert know(profile, is_spread=True, pod_uid="uid-a").say(one, Moment.LATER) is Word.COUNTS
    assert know(profile, is_spread=True, pod_uid="uid-b").say(one, Moment.UNCLEAR) is Word.COUNTS, "another pod's key"
    lone = profile_of(saw("a", "n1", one))
    assert know(lone, is_spread=False, pod_uid="uid-a").say(one, Moment.UNCLEAR) is Word.FIRST, "as it was told before"
    assert know(lone, is_spread=False, pod_uid="uid-a").say(other, Moment.UNCLEAR) is Word.COUNTS
