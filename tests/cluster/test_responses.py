"""What Intact does about tampering in a real cluster: what the policy says, as often as it says, and nothing else.

The workloads are set up together, since a revision must be seen intact for a while before it counts as known good.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.settings import LabError
from tests.cluster.kubernetes import apply, eventually
from tests.cluster.whole import ENDED, PAGE, ROLL_BACK, Image, Installed, Object, Shop

QUICK = {"corroboration": "Reporter", "cooldown": "1s", "rollback": {"to": "LastKnownGood", "soak": "1s"}}
REVERSIBLE = ("web", "previous", "paused", "moving", "slow")


@pytest.fixture(scope="module")
def v1(installed: Installed) -> Image:
    return installed.push("v1")


@pytest.fixture(scope="module")
def v2(installed: Installed) -> Image:
    return installed.push("v2")


@pytest.fixture(scope="module")
def shop(installed: Installed, v1: Image, v2: Image) -> Iterator[Shop]:
    """Deployments that went from v1, which was seen intact, to v2; and `fresh`, which has only one revision."""
    with installed.shop() as shop:
        for app in (*REVERSIBLE, "fresh"):
            guard = {**QUICK, "rollback": {"to": "Previous"}} if app == "previous" else QUICK
            shop.policy(app, mode="Enforce", respond=ROLL_BACK, guard=guard)
        for app in (*REVERSIBLE, "fresh"):
            shop.deploy(app, v1.tag, replicas=1, wait=False, slowly_s=15 if app == "slow" else 0)
        scaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": shop.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2,
                "maxReplicas": 4,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            },
        }
        apply(installed.cluster, scaler)
        for app in REVERSIBLE:
            shop.wait_rolled_out(app)
        shop.wait_intact(*REVERSIBLE)
        time.sleep(17)  # the nodes say every 15 seconds that they still look
        for app in REVERSIBLE:
            shop.kubectl("set", "image", f"deployment/{app}", f"web={v2.tag}")
        for app in REVERSIBLE:
            shop.wait_rolled_out(app)
        assert shop.incidents() == []
        yield shop


def version(shop: Shop, app: str) -> set[str]:
    return {shop.run_in(pod, f"cat {PAGE}").strip() for pod in shop.pods(app)}


def test_rollback_goes_to_the_last_known_good_revision_and_changes_only_the_template(shop: Shop, v1: Image) -> None:
    before = eventually(lambda: _scaled(shop), 60)
    shop.wait_rolled_out("web")
    pods = shop.uids("web")
    shop.tamper("web")
    done = shop.wait_phase("web", "RollBack", *ENDED, timeout_s=90)
    assert done["status"]["phase"] == "Verified", done["status"]
    assert version(shop, "web") == {"shop v1"} and not pods & shop.uids("web") and len(shop.pods("web")) == 2
    after = shop.installed.read("deployment", "web", "-n", shop.namespace)
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == v1.digest
    assert done["status"]["revision"] in shop.pods("web")[0]["metadata"]["labels"]["pod-template-hash"]
    assert _without_template(before) == _without_template(after)
    shop.wait_incident("web", lambda status: status["state"] == "Resolved")
    assert shop.wait_alert("web", "RollBack", "Verified")


def test_it_is_rolled_back_once_and_not_a_second_step(shop: Shop) -> None:
    eventually(lambda: "Verified" in shop.phases("web", "RollBack"), 60)
    shop.wait_incident("web", lambda status: status["state"] == "Resolved")
    pods = shop.uids("web")
    shop.tamper("web", text="again")
    refused = shop.wait_phase("web", "RollBack", "Refused")
    assert "rolled back once already" in refused["status"]["message"]
    assert shop.uids("web") == pods and shop.phases("web", "RollBack").count("Verified") == 1


def test_rollback_to_previous_needs_no_known_good_revision(shop: Shop, v1: Image) -> None:
    shop.tamper("previous")
    done = shop.wait_phase("previous", "RollBack", *ENDED, timeout_s=90)
    assert (done["status"]["phase"], done["spec"]["to"]) == ("Verified", "Previous"), done["status"]
    assert version(shop, "previous") == {"shop v1"}


def test_without_a_revision_to_go_back_to_it_is_refused_and_people_are_told_why(shop: Shop) -> None:
    shop.wait_rolled_out("fresh")
    pods = shop.uids("fresh")
    shop.tamper("fresh")
    refused = shop.wait_phase("fresh", "RollBack", *ENDED)
    assert refused["status"]["phase"] == "Refused"
    assert "no other revision was ever seen to run" in refused["status"]["message"]
    shop.wait_incident("fresh", lambda status: status["action"] == "RollBack Refused", 30)
    assert "no other revision" in shop.wait_alert("fresh", "RollBack", "Refused")["summary"]
    time.sleep(2)
    assert shop.uids("fresh") == pods
    assert len(shop.remediations("fresh")) == len(shop.alerts("fresh", "Refused")) == 1


def test_a_paused_deployment_is_not_rolled_back(shop: Shop) -> None:
    shop.kubectl("rollout", "pause", "deployment/paused")
    shop.tamper("paused")
    refused = shop.wait_phase("paused", "RollBack", *ENDED)
    assert (refused["status"]["phase"], refused["status"]["message"]) == ("Refused", "the rollout is paused")
    assert version(shop, "paused") == {"owned"}


def test_a_rollout_under_way_is_not_rolled_back(shop: Shop, v2: Image) -> None:
    pod = shop.pods("moving")[0]
    shop.kubectl("set", "image", "deployment/moving", "web=none.invalid/nothing:1")
    eventually(lambda: len(shop.pods("moving")) == 2)
    shop.run_in(pod, f"echo owned >{PAGE}")
    refused = shop.wait_phase("moving", "RollBack", *ENDED)
    assert (refused["status"]["phase"], refused["status"]["message"]) == ("Refused", "a rollout is under way")
    assert pod["metadata"]["uid"] in shop.uids("moving")


def test_a_controller_that_dies_in_the_middle_of_a_rollback_goes_on_with_it(shop: Shop) -> None:
    shop.tamper("slow")
    shop.wait_phase("slow", "RollBack", "Running")
    with shop.installed.without_controller():
        assert shop.phases("slow", "RollBack") == ["Running"]
    done = shop.wait_phase("slow", "RollBack", *ENDED, timeout_s=120)
    assert done["status"]["phase"] == "Verified", done["status"]
    assert len(shop.remediations("slow", "RollBack")) == len(shop.incidents("slow")) == 1
    assert version(shop, "slow") == {"shop v1"}


def _scaled(shop: Shop) -> Object | None:
    found: Object = shop.installed.read("deployment", "web", "-n", shop.namespace)
    return found if found["spec"]["replicas"] == 2 else None


def _without_template(deployment: Object) -> Object:
    """What nobody but its owner may change: all but the template and what Kubernetes itself counts."""
    kept = copy.deepcopy(deployment)
    del kept["status"], kept["spec"]["template"]
    for counted in ("generation", "resourceVersion", "managedFields"):
        kept["metadata"].pop(counted, None)
    kept["metadata"]["annotations"].pop("deployment.kubernetes.io/revision")
    return kept


# -- restarts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cafe(installed: Installed, v1: Image) -> Iterator[Shop]:
    """Deployments under policies that are not about rollbacks."""
    everything: dict[str, dict[str, Any]] = {
        "enforced": {"mode": "Enforce", "guard": {"cooldown": "1h"}},
        "budgeted": {"mode": "Enforce", "guard": {"cooldown": "0s", "maxActions": 1, "per": "1h"}},
        "guarded": {"mode": "Enforce", "guard": {"cooldown": "0s"}},
        "observed": {"mode": "Observe"},
        "unwatched": {"mode": "Off"},
        "expected": {"mode": "Enforce", "expect": [{"paths": ["/srv/site/**"], "reason": "edited in place"}]},
        "levelled": {"mode": "Observe", "levels": [{"paths": ["/srv/site/**"], "level": "Critical"}]},
        "governed": {"mode": "Enforce"},
    }
    with installed.shop() as shop:
        for app, spec in everything.items():
            shop.policy(app, **spec)
            shop.deploy(app, v1.digest, replicas=2 if app == "enforced" else 1, wait=False)
        for app in everything:
            shop.wait_rolled_out(app)
        shop.wait_intact(*(app for app in everything if app != "unwatched"))
        yield shop


def test_enforce_replaces_the_pod_by_eviction_and_keeps_the_others(cafe: Shop) -> None:
    before = cafe.uids("enforced")
    bad = cafe.tamper("enforced")["metadata"]["uid"]
    done = cafe.wait_phase("enforced", "RestartPod", *ENDED)
    assert done["status"]["phase"] == "Verified", done["status"]
    assert before - cafe.uids("enforced") == {bad} and len(cafe.pods("enforced")) == 2
    assert cafe.remediations("enforced", "RollBack") == []


def test_within_the_cooldown_nothing_is_done_and_that_is_told_once(cafe: Shop) -> None:
    eventually(lambda: "Verified" in cafe.phases("enforced"), 60)
    before = cafe.uids("enforced")
    cafe.tamper("enforced", text="once more")
    refused = cafe.wait_phase("enforced", "RestartPod", "Refused")
    assert refused["status"]["message"] == "cooldown: another action within 1h"
    cafe.tamper("enforced", text="and again")
    time.sleep(4)
    assert cafe.uids("enforced") == before
    assert len(cafe.alerts("enforced", "cooldown")) == cafe.phases("enforced").count("Refused") == 1


def test_the_budget_of_actions_holds(cafe: Shop) -> None:
    cafe.tamper("budgeted")
    cafe.wait_phase("budgeted", "RestartPod", "Verified")
    cafe.wait_rolled_out("budgeted")
    before = cafe.uids("budgeted")
    cafe.tamper("budgeted", text="something else")
    refused = cafe.wait_phase("budgeted", "RestartPod", "Refused")
    assert refused["status"]["message"] == "budget: 1 actions per 1h" and cafe.uids("budgeted") == before


def test_a_disruption_budget_is_respected_and_named(cafe: Shop) -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "always-one", "namespace": cafe.namespace},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
    }
    apply(cafe.installed.cluster, budget)
    eventually(lambda: cafe.kubectl("get", "pdb", "always-one", "-o", "jsonpath={.status.currentHealthy}") == "1")
    before = cafe.uids("guarded")
    cafe.tamper("guarded")
    waiting = cafe.wait_phase("guarded", "RestartPod", "Proposed")
    assert "PodDisruptionBudget always-one" in waiting["status"]["message"]
    assert cafe.uids("guarded") == before
    cafe.kubectl("delete", "pdb", "always-one")
    assert cafe.wait_phase("guarded", "RestartPod", *ENDED)["status"]["phase"] == "Verified"


def test_observe_alerts_and_never_acts(cafe: Shop) -> None:
    before = cafe.uids("observed")
    cafe.tamper("observed")
    cafe.wait_alert("observed", "IncidentOpened")
    time.sleep(2)
    assert cafe.uids("observed") == before and cafe.remediations("observed") == []


def test_off_says_nothing(cafe: Shop) -> None:
    cafe.tamper("unwatched")
    time.sleep(5)
    assert cafe.incidents("unwatched") == cafe.alerts("unwatched") == []


def test_what_is_expected_is_no_incident_and_what_is_not_still_is(cafe: Shop) -> None:
    before = cafe.uids("expected")
    pod = cafe.tamper("expected")
    time.sleep(4)
    assert cafe.incidents("expected") == [] and cafe.uids("expected") == before
    cafe.run_in(pod, "echo 9 >/etc/version")
    incident = cafe.wait_incident("expected")
    assert [one["path"] for one in incident["status"]["paths"]] == ["/etc/version"]


def test_a_policy_raises_the_level_of_its_paths(cafe: Shop) -> None:
    cafe.tamper("levelled")
    assert cafe.wait_incident("levelled")["status"]["level"] == "Critical"


def test_the_clusters_policy_wins_over_the_namespaces(cafe: Shop) -> None:
    name = f"alerts-only-{cafe.namespace}"
    selector = {"matchLabels": {"app": "governed"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}
    respond = [{"when": {"level": "Info"}, "do": ["Alert"]}]
    cafe.policy("governed", cluster=True, name=name, mode="Enforce", respond=respond, selector=selector)
    try:
        before = cafe.uids("governed")
        cafe.tamper("governed")
        assert cafe.wait_incident("governed")["status"]["policy"] == name
        time.sleep(2)
        assert cafe.uids("governed") == before and cafe.remediations("governed") == []
    finally:
        cafe.kubectl("delete", "clusterintegritypolicy", name)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"respond": [{"when": {"count": 3}, "do": ["RollBack"]}]}, "a count above 1 and within belong together"),
        ({"mode": "Off", "respond": ROLL_BACK}, "mode Off watches nothing"),
        ({"mode": "Sometimes"}, 'supported values: "Observe", "Enforce", "Off"'),
        ({"watch": {"interval": "0s"}}, "interval must be between 1s and 24h"),
    ],
)
def test_an_invalid_policy_is_refused_with_what_is_wrong(cafe: Shop, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(LabError) as told:
        cafe.policy("invalid", **spec)
    assert says in str(told.value)


def test_what_the_api_server_cannot_check_is_told_in_the_policys_status(cafe: Shop) -> None:
    cafe.policy("someday", mode="Enforce", expect=[{"paths": ["/srv/**"], "until": "2027-02-31"}])

    def told() -> Object | None:
        found = cafe.installed.read("integritypolicy", "someday", "-n", cafe.namespace)
        return next(iter(found.get("status", {}).get("conditions", [])), None)

    accepted = eventually(told, 30)
    assert (accepted["type"], accepted["status"], accepted["reason"]) == ("Accepted", "False", "Invalid")
    assert "spec.expect[0].until" in accepted["message"] and "2027-02-31" in accepted["message"]
