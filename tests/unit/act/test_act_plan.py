"""The table owner kind × action, a test per cell, and what is checked before a Deployment goes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.act.plan import AlreadyDone, AlreadyGone, Evict, Refused, SetTemplate, plan_restart, plan_rollback
from intact.act.ports import Owner, Reference
from intact.act.template import pin_images, references_of, without_hash
from intact.model.policy import ActionKind
from tests.unit.act.world import SHA1, SHA2, WEB, decision, deployment, pod, record, revision, template

RESTART = decision(ActionKind.RESTART_POD)
ROLL_BACK = decision(ActionKind.ROLL_BACK)


@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet"])
def test_a_pod_that_is_made_anew_is_evicted(kind: str) -> None:
    assert plan_restart(RESTART, pod(owner=kind)) == Evict(pod=pod(owner=kind))


@pytest.mark.parametrize(
    ("kind", "said"),
    [("", "has no owner"), ("Job", "suspend the Job"), ("Node", "static pod"), ("Rollout", "belongs to a Rollout")],
)
def test_a_pod_that_nobody_makes_anew_is_left_alone(kind: str, said: str) -> None:
    step = plan_restart(RESTART, pod(owner=kind))
    assert isinstance(step, Refused)
    assert said in step.reason


def test_a_mirror_pod_is_static_whatever_owns_it() -> None:
    step = plan_restart(RESTART, pod(owner="ReplicaSet", static=True))
    assert isinstance(step, Refused)
    assert "static" in step.reason


@pytest.mark.parametrize("now", [None, pod(uid="other"), pod(terminating=True), pod(finished=True)])
def test_a_pod_that_is_gone_or_another_by_the_same_name_is_not_evicted(now: object) -> None:
    assert plan_restart(RESTART, now) == AlreadyGone()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind", ["StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod", "Node", "Rollout"]
)
def test_only_deployments_are_rolled_back(kind: str) -> None:
    step = plan_rollback(replace(ROLL_BACK, workload=replace(WEB, kind=kind)), None, None)
    assert isinstance(step, Refused)
    assert step.code == "Owner"
    assert step.reason


V1, V2 = revision(1, "reg:5000/web:1"), revision(2, "reg:5000/web:2")
RAN_V1 = record(1, f"mirror/web@{SHA1}")


def test_a_deployment_goes_back_to_the_digest_that_really_ran() -> None:
    step = plan_rollback(ROLL_BACK, deployment(V1, V2), RAN_V1)
    assert isinstance(step, SetTemplate)
    assert step.template == template(f"reg:5000/web@{SHA1}")
    assert step.target == V1


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (None, "TargetGone"),
        (deployment(V1, V2, terminating=True), "TargetGone"),
        (deployment(V1, V2, uid="somebody-else"), "TargetGone"),
        (deployment(V2), "NoTarget"),
        (deployment(V1, V2, paused=True), "Paused"),
        (deployment(V1, V2, owner=Owner(kind="Shop", name="s", uid="o")), "Managed"),
        (deployment(V1, V2, observed_generation=2), "MidRollout"),
        (deployment(V1, V2, updated=1), "MidRollout"),
        (deployment(V1, V2, replicas=3), "MidRollout"),
        (deployment(V1, replace(V2, created_at=101.0)), "Superseded"),
    ],
)
def test_a_deployment_that_is_not_as_it_was_decided_on_is_left_alone(state: object, code: str) -> None:
    step = plan_rollback(ROLL_BACK, state, RAN_V1)  # type: ignore[arg-type]
    assert isinstance(step, Refused)
    assert step.code == code


def test_a_target_of_the_same_name_that_is_another_object_is_no_target() -> None:
    step = plan_rollback(ROLL_BACK, deployment(replace(V1, uid="new"), V2), RAN_V1)
    assert isinstance(step, Refused)
    assert step.code == "NoTarget"


@pytest.mark.parametrize("ran", [None, record(1), record(1, f"a/web@{SHA1}", container="other"), record(1, f"a@{SHA1}", f"a@{SHA2}")])
def test_a_tag_whose_digest_is_not_certain_is_no_target(ran: object) -> None:
    step = plan_rollback(ROLL_BACK, deployment(V1, V2), ran)  # type: ignore[arg-type]
    assert isinstance(step, Refused)
    assert step.code == "NoDigest"
    assert "reg:5000/web:1" in step.reason


def test_planning_again_after_it_went_back_does_nothing() -> None:
    pinned = revision(3, f"reg:5000/web@{SHA1}")
    assert plan_rollback(ROLL_BACK, deployment(V1, V2, pinned), RAN_V1) == AlreadyDone("h3")
    assert plan_rollback(ROLL_BACK, deployment(V2, V1), RAN_V1) == AlreadyDone("h1")


def test_pinning_keeps_everything_but_the_tag() -> None:
    before = template("docker.io/library/web:1", initContainers=[{"name": "init", "image": f"a/b@{SHA2}"}], volumes=[{"name": "v"}])
    after, unknown = pin_images(before, [("web", f"x@{SHA1}")])
    assert not unknown
    assert after["spec"]["containers"][0]["image"] == f"docker.io/library/web@{SHA1}"  # type: ignore[index]
    assert after["spec"]["initContainers"] == [{"name": "init", "image": f"a/b@{SHA2}"}]  # type: ignore[index]
    assert before["spec"]["containers"][0]["image"] == "docker.io/library/web:1"


def test_a_registry_port_is_not_taken_for_a_tag() -> None:
    after, _ = pin_images(template("reg:5000/web"), [("web", f"x@{SHA1}")])
    assert after == template(f"reg:5000/web@{SHA1}")


def test_everything_a_pod_needs_to_start_is_found() -> None:
    needs = template(
        "a",
        volumes=[
            {"name": "1", "configMap": {"name": "cm-volume"}},
            {"name": "2", "secret": {"secretName": "s-volume"}},
            {"name": "3", "projected": {"sources": [{"configMap": {"name": "cm-projected"}}, {"secret": {"name": "s-projected"}}]}},
            {"name": "4", "configMap": {"name": "not-needed", "optional": True}},
        ],
        initContainers=[{"name": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s-env", "key": "k"}}}]}],
        imagePullSecrets=[{"name": "pull"}],
    )
    needs["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "cm-from"}}, {"secretRef": {"name": "s", "optional": True}}]
    assert references_of(needs) == (
        Reference("ConfigMap", "cm-from"),
        Reference("ConfigMap", "cm-projected"),
        Reference("ConfigMap", "cm-volume"),
        Reference("Secret", "s-env"),
        Reference("Secret", "s-projected"),
        Reference("Secret", "s-volume"),
    )


def test_the_hash_label_of_a_replica_set_is_not_the_deployments() -> None:
    held = template("a")
    held["metadata"]["labels"]["pod-template-hash"] = "h1"
    assert without_hash(held) == template("a")
    assert held["metadata"]["labels"]["pod-template-hash"] == "h1"
