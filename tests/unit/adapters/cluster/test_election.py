"""Who may act, in virtual time: never two at once, never for longer than the Lease allows."""

from __future__ import annotations

from intact.adapters.cluster.lease import DURATION_S, RENEW_DEADLINE_S, Election, Held


def held(holder: str, renewed: str = "1") -> Held:
    return Held(holder=holder, duration_s=DURATION_S, renewed=renewed)


def test_a_free_lease_may_be_taken() -> None:
    assert Election("me").may_take(None, 0.0)
    assert Election("me").may_take(held(""), 0.0)


def test_another_holders_lease_may_be_taken_only_after_it_stood_unchanged_for_its_duration() -> None:
    me = Election("me")
    assert not me.may_take(held("other", "1"), 1000.0)
    assert not me.may_take(held("other", "1"), 1000.0 + DURATION_S - 0.1)
    assert not me.may_take(held("other", "2"), 1000.0 + DURATION_S)
    assert me.may_take(held("other", "2"), 1000.0 + 2 * DURATION_S)


def test_the_holder_stops_before_anybody_else_may_start() -> None:
    me, other = Election("me"), Election("other")
    assert me.may_take(held("me"), 0.0)
    me.renewed_at = 0.0
    other.may_take(held("me"), 0.0)
    stops = next(t / 10 for t in range(1000) if not me.is_acting(t / 10))
    starts = next(t / 10 for t in range(1000) if other.may_take(held("me"), t / 10))
    assert stops == RENEW_DEADLINE_S
    assert starts == DURATION_S
    assert stops < starts


def test_whoever_never_renewed_does_not_act() -> None:
    assert not Election("me").is_acting(0.0)
