"""Laws of start profiles: nothing that came after Ready is excused, one pod excuses nothing, and the order of reports does not matter."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from intact.decide.start import Word, know, learn, tell_moment
from intact.model.finding import Finding
from intact.model.start import Moment, StartProfile, Witness
from tests.unit.decide.test_start import NOBODY, change, facts, saw

FINDINGS = st.builds(
    lambda path, content, mode, lines: change(path, content, mode=mode, lines=lines),
    st.sampled_from([b"/etc/a", b"/etc/b", b"/srv/c"]),
    st.sampled_from([b"1", b"2", b"3"]),
    st.sampled_from([0o644, 0o755]),
    st.sampled_from([b"", b"x", b"y"]),
)
WITNESSES = st.builds(
    lambda name, node, findings: saw(name, node, *findings),
    st.sampled_from("abcdefghi"),
    st.sampled_from(["n1", "n2", "n3"]),
    st.lists(FINDINGS, max_size=4),
)
EXCUSED = (Word.EXPECTED, Word.VARIES, Word.FIRST)


def profile_of(witnesses: list[Witness]) -> StartProfile:
    profile = NOBODY
    for witness in witnesses:
        profile = learn(profile, witness)
    return profile


@given(st.data())
def test_the_order_in_which_pods_are_heard_and_how_often_does_not_matter(data: st.DataObject) -> None:
    witnesses = data.draw(st.lists(WITNESSES, max_size=9))
    once = profile_of(witnesses)
    assert profile_of(data.draw(st.permutations(witnesses))) == once
    assert profile_of([*witnesses, *witnesses]) == once


@given(st.lists(WITNESSES, max_size=9), FINDINGS, st.floats(900, 1100), st.floats(0, 700), st.floats(0, 700), st.booleans())
def test_nothing_made_after_ready_is_excused(
    witnesses: list[Witness], finding: Finding, started_at: float, took_s: float, after_s: float, is_spread: bool
) -> None:
    ready = started_at + took_s
    pod = facts(since=float(math.floor(ready)))
    moment = tell_moment(ready + 1.0 + after_s, started_at, pod)
    assert moment is Moment.LATER
    assert know(profile_of(witnesses), is_spread=is_spread).say(finding, moment) is Word.COUNTS


@given(st.lists(WITNESSES, max_size=9), FINDINGS, st.booleans())
def test_where_it_is_unclear_when_it_was_made_only_what_two_pods_start_with_is_excused(
    witnesses: list[Witness], finding: Finding, is_spread: bool
) -> None:
    profile = profile_of(witnesses)
    if know(profile, is_spread=is_spread).say(finding, Moment.UNCLEAR) in EXCUSED:
        alike = [one for one in profile.witnesses if any(_is_alike(entry, finding) for entry in one.entries)]
        assert len({one.pod_uid for one in alike}) >= 2


@given(WITNESSES, FINDINGS, st.sampled_from(list(Moment)), st.booleans())
def test_a_profile_from_one_pod_excuses_nothing(witness: Witness, finding: Finding, moment: Moment, is_spread: bool) -> None:
    assert know(profile_of([witness, witness]), is_spread=is_spread).say(finding, moment) in (Word.FIRST, Word.COUNTS)


@given(st.lists(WITNESSES, max_size=9), FINDINGS)
def test_the_word_of_one_node_moves_no_pod_of_another(witnesses: list[Witness], finding: Finding) -> None:
    one_node = [witness for witness in witnesses if witness.node == "n1"]
    assert know(profile_of(one_node), is_spread=True).say(finding, Moment.START) is Word.FIRST


def _is_alike(entry: object, finding: Finding) -> bool:
    described = saw("x", "n1", finding).entries[0]
    same = (described.path, described.shape) == (getattr(entry, "path", b""), getattr(entry, "shape", ""))
    return same and (described.content == getattr(entry, "content", "") or described.lines == getattr(entry, "lines", "") != "")
