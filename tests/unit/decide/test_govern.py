"""One policy governs a pod, whatever order policies come in; a namespace may tighten and never weaken."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from intact.adapters.codec import decode, encode
from intact.decide.govern import DEFAULT, MAX_EXPECTED_BYTES, OF_FILES, compile_plan, govern, plan_levels
from intact.model.digest import Digest
from intact.model.finding import Change, Level
from intact.model.incident import PodFacts, Workload
from intact.model.policy import Expectation, Mode, PathLevel, Policy, Purpose, Watch
from intact.model.seam import Plan, PlannedLevel

WEB = (("app", "web"), ("tier", "front"))


def policy(name: str, namespace: str = "", mode: Mode = Mode.OBSERVE, labels: tuple[tuple[str, str], ...] = ()) -> Policy:
    return Policy(name=name, namespace=namespace, mode=mode, match_labels=labels)


@pytest.mark.parametrize(
    ("policies", "name", "mode"),
    [
        ([], "default", Mode.OBSERVE),
        ([policy("other", "else", Mode.ENFORCE)], "default", Mode.OBSERVE),
        ([policy("a", "shop"), policy("b", "shop", labels=WEB[:1])], "b", Mode.OBSERVE),
        ([policy("a", "shop"), policy("b", "shop", Mode.ENFORCE)], "b", Mode.ENFORCE),
        ([policy("b", "shop"), policy("a", "shop")], "a", Mode.OBSERVE),
        ([policy("c"), policy("a", "shop", Mode.ENFORCE, WEB)], "c", Mode.ENFORCE),
        ([policy("c", mode=Mode.ENFORCE), policy("a", "shop", Mode.OFF, WEB)], "c", Mode.ENFORCE),
        ([policy("c", labels=WEB), policy("d", mode=Mode.ENFORCE)], "c", Mode.OBSERVE),
        ([policy("x", labels=(("app", "db"),)), policy("a", "shop")], "a", Mode.OBSERVE),
    ],
)
def test_which_policy_governs(policies: list[Policy], name: str, mode: Mode) -> None:
    for order in permutations(policies):
        chosen = govern("shop", WEB, order)
        assert (chosen.name, chosen.mode) == (name, mode)


def test_without_a_policy_nothing_is_ever_done() -> None:
    assert govern("shop", WEB, []) is DEFAULT
    assert DEFAULT.mode is Mode.OBSERVE


def pod(uid: str, **labels: str) -> PodFacts:
    workload = Workload(kind="Deployment", namespace="shop", name="web")
    return PodFacts(uid=uid, namespace="shop", name=uid, node="n1", labels=tuple(labels.items()), workload=workload)


def test_a_plan_says_how_each_pod_is_watched_and_its_name_changes_with_it() -> None:
    watch = Watch(realtime=False, interval_s=300.0, volumes=True)
    slow = Policy(name="slow", namespace="shop", match_labels=(("app", "web"),), watch=watch)
    off = Policy(name="off", namespace="shop", match_labels=(("app", "db"),), mode=Mode.OFF)
    pods = [pod("b", app="web"), pod("a", app="db"), pod("c")]
    plan = compile_plan(pods, [slow, off])
    assert [(p.pod_uid, p.watched, p.realtime, p.interval_s) for p in plan.pods] == [
        ("a", False, True, 60.0),
        ("b", True, False, 300.0),
        ("c", True, True, 60.0),
    ]
    assert [p.volumes for p in plan.pods] == [False, True, False]
    assert compile_plan(reversed(pods), [off, slow]) == plan
    assert compile_plan(pods, [slow]).etag != plan.etag
    assert compile_plan(pods, [], "v7").etag == "v7"
    withdrawn = (Digest.of(b"withdrawn"),)
    told = compile_plan(pods, [slow, off], withdrawn=withdrawn)
    assert told.withdrawn == withdrawn and told.etag != plan.etag, "nodes hear of it at once"


UPLOADS = PathLevel(paths=("/srv/uploads/**/*.php",), level=Level.HIGH)


def test_a_node_is_told_what_a_policy_raises_and_what_of_that_it_expects() -> None:
    expected = Expectation(paths=("/srv/uploads/cache/**",), changes=(Change.ADDED,), until=9.0)
    everything = Expectation(paths=("/srv/uploads/tmp/**",))
    policy = Policy(name="web", levels=(UPLOADS,), expect=(expected, everything, Expectation(paths=("/var/log/**",), grows=True)))
    plan = compile_plan([pod("a")], [policy])
    assert plan.pods[0].levels == (
        PlannedLevel(paths=UPLOADS.paths, level=Level.HIGH),
        PlannedLevel(paths=expected.paths, level=Level.INFO, changes=(Change.ADDED,), until=9.0),
        PlannedLevel(paths=everything.paths, level=Level.INFO, changes=OF_FILES),
    )
    assert Change.EXECUTED not in OF_FILES, "a place for data is not one for programs"
    assert plan.etag != compile_plan([pod("a")], [replace(policy, levels=())]).etag
    assert decode(Plan, encode(plan)) == plan


def test_a_node_is_told_nothing_where_nothing_is_raised() -> None:
    expected = (Expectation(paths=("/srv/**",)),)
    lowered = (PathLevel(paths=("/srv/**",), level=Level.INFO),)
    assert plan_levels(Policy(name="quiet", expect=expected, levels=lowered)) == ()
    assert plan_levels(Policy(name="build", workload=Purpose.BUILD, levels=(UPLOADS,))) == (), "what builds write is their work"


def test_what_a_node_is_told_of_a_policy_is_bounded() -> None:
    many = tuple(Expectation(paths=(f"/{number}/" + "x" * 500,)) for number in range(200))
    planned = plan_levels(Policy(name="big", levels=(UPLOADS,), expect=many))
    assert planned[0].level is Level.HIGH
    assert sum(len(path) for one in planned[1:] for path in one.paths) <= MAX_EXPECTED_BYTES
