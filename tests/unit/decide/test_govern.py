"""One policy governs a pod, whatever order policies come in; a namespace may tighten and never weaken."""

from __future__ import annotations

from itertools import permutations

import pytest

from intact.decide.govern import DEFAULT, compile_plan, govern
from intact.model.digest import Digest
from intact.model.incident import PodFacts, Workload
from intact.model.policy import Mode, Policy, Watch

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
