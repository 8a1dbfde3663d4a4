"""The custom resources on a real API server: what they refuse, who may write them, how much goes into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import msgspec
import pytest

from intact.adapters.cluster.api import Api, Rejected
from intact.adapters.cluster.bodies import ShownBaseline
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.declared import DeclaredObjects
from intact.adapters.cluster.follow import Follower
from intact.adapters.cluster.kinds import BASELINE, INCIDENT, NODE, POLICY, REMEDIATION
from intact.adapters.cluster.objects import NODE_REFRESH_S, QUIET_S, Objects
from intact.decide.grammar import parse_policy
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.errors import TemporaryError
from intact.model.finding import Level
from intact.model.incident import Decision, Incident, IncidentState, Outcome, PathSummary, Phase, Workload
from intact.model.policy import ActionKind, Cause
from intact.model.seam import Coverage, NodeStatus
from lab.cluster import Cluster
from tests.cluster.kubernetes import admin, as_controller, eventually, fresh_namespace, install_chart

EXAMPLE = {
    "selector": {"matchLabels": {"app": "web"}},
    "mode": "Enforce",
    "watch": {"realtime": True, "interval": "60s"},
    "baseline": {"require": "Verified"},
    "expect": [
        {"paths": ["/var/log/**"], "grows": True, "reason": "append-only logs"},
        {"paths": ["/srv/cache/**"], "changes": ["Added", "Modified"], "until": "2027-01-01"},
    ],
    "levels": [{"paths": ["/usr/share/nginx/html/**"], "level": "Critical"}],
    "respond": [
        {"when": {"cause": "Container", "level": "High"}, "do": ["RestartPod"]},
        {"when": {"cause": "Container", "level": "High", "count": 3, "within": "10m"}, "do": ["RollBack"]},
        {"when": {"cause": ["Revision", "Container"]}, "do": ["RollBack"]},
    ],
    "guard": {
        "maxActions": 3,
        "per": "1h",
        "cooldown": "5m",
        "minReady": 1,
        "corroboration": "TwoNodes",
        "rollback": {"to": "LastKnownGood", "soak": "10m"},
    },
}


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    install_chart(cluster)
    with fresh_namespace(cluster) as name:
        yield name


@pytest.fixture(scope="module")
def controller(cluster: Cluster, namespace: str) -> Api:
    return as_controller(cluster)


def policy(namespace: str, spec: Mapping[str, object]) -> dict[str, object]:
    metadata = {"name": "web", "namespace": namespace}
    return {"apiVersion": POLICY.api_version, "kind": POLICY.kind, "metadata": metadata, "spec": spec}


def test_the_documented_policy_is_accepted_by_server_and_grammar_alike(cluster: Cluster, namespace: str) -> None:
    made = admin(cluster).create(POLICY, policy(namespace, EXAMPLE))
    parsed = parse_policy(made, POLICY.kind)
    assert len(parsed.respond or ()) == 3
    admin(cluster).delete(POLICY, "web", namespace)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"mode": "Maybe"}, 'supported values: "Observe", "Enforce", "Off"'),
        ({"watch": {"interval": "500ms"}}, "spec.watch.interval"),
        ({"watch": {"interval": "25h"}}, "interval must be between 1s and 24h"),
        ({"respond": [{"when": {"count": 3}, "do": ["Alert"]}]}, "count above 1 and within belong together"),
        ({"respond": [{"when": {"cause": "Weather"}, "do": ["Alert"]}]}, 'Unsupported value: "Weather"'),
        ({"respond": [{"when": {}, "do": ["Reboot"]}]}, 'supported values: "Alert", "RestartPod", "RollBack"'),
        ({"respond": [{"when": {}, "do": []}]}, "should have at least 1 items"),
        ({"respond": []}, "should have at least 1 items"),
        ({"mode": "Off", "respond": [{"when": {}, "do": ["Alert"]}]}, "mode Off watches nothing"),
        ({"expect": [{"paths": ["/a"], "grows": True, "changes": ["Deleted"]}]}, "grows is about added and modified files"),
        ({"expect": [{"paths": ["/a"], "until": "tomorrow"}]}, "spec.expect[0].until"),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "In and NotIn need values"),
        ({"guard": {"maxActions": -1}}, "spec.guard.maxActions"),
        ({"expect": [{"paths": ["/a"]}] * 65}, "must have at most 64 items"),
    ],
)
def test_a_wrong_policy_is_refused_with_a_message_that_says_what_is_wrong(
    cluster: Cluster, namespace: str, spec: dict[str, object], said: str
) -> None:
    with pytest.raises(Rejected) as refused:
        admin(cluster).create(POLICY, policy(namespace, spec))
    assert said in str(refused.value)


def test_an_unknown_field_is_refused_by_kubectl(cluster: Cluster, namespace: str) -> None:
    text = (
        f"apiVersion: intact.dev/v1alpha1\nkind: IntegrityPolicy\nmetadata: {{name: x, namespace: {namespace}}}\nspec: {{mod: Enforce}}\n"
    )
    answer = cluster.kubectl("apply", "-f", "-", input=text, check=False)
    assert "created" not in answer


AT = "2026-01-01T00:00:00Z"


def incident(namespace: str, count: int = 3, state: IncidentState = IncidentState.OPEN) -> Incident:
    return Incident(
        id="web-incident",
        workload=Workload(kind="Deployment", namespace=namespace, name="web", uid="d1"),
        state=state,
        cause=Cause.CONTAINER,
        level=Level.HIGH,
        first_seen=1.0,
        last_seen=2.0,
        count=count,
    )


def decision(namespace: str, name: str) -> Decision:
    return Decision(
        name=name,
        incident_id="web-incident",
        action=ActionKind.ROLL_BACK,
        workload=Workload(kind="Deployment", namespace=namespace, name="web", uid="d1"),
        pod=None,
        reason="High, cause Revision",
        policy="shop/web",
        at=1.0,
        to="LastKnownGood",
        target="web-1",
    )


def test_an_incident_of_the_worst_kind_is_stored_in_16_kib_and_listed(cluster: Cluster, namespace: str, controller: Api) -> None:
    paths = [
        PathSummary(
            path=b"/%d/" % n + b"\xfe\n" * 2000,
            change="Modified",
            level=Level.HIGH,
            expected="e" * 600,
            actual="a" * 600,
            first_seen=1.0,
            pods=("p",),
        )
        for n in range(30)
    ]
    Objects(controller).put_incident(incident(namespace, count=5000), paths, 0.0)
    found = controller.get(INCIDENT, "web-incident", namespace)
    assert found is not None
    assert len(msgspec.json.encode(found)) <= 16 * 1024
    assert found["status"]["paths"]
    listed = cluster.kubectl("get", "incidents", "-n", namespace).splitlines()
    assert listed[0].split() == ["NAME", "WORKLOAD", "CAUSE", "LEVEL", "PODS", "NODES", "ACTION", "STATE", "AGE"]
    assert "Deployment/web" in listed[1]


def test_unchanged_records_are_not_written_and_changed_ones_not_too_often(namespace: str, controller: Api) -> None:
    objects = Objects(controller)

    def version() -> str:
        found = controller.get(INCIDENT, "web-incident", namespace)
        assert found is not None
        return str(found["metadata"]["resourceVersion"])

    assert objects.put_incident(incident(namespace, 1), [], 100.0) == 0
    first = version()
    assert objects.put_incident(incident(namespace, 1), [], 101.0) == 0
    assert version() == first
    assert objects.put_incident(incident(namespace, 2), [], 102.0) == pytest.approx(QUIET_S - 2)
    assert version() == first
    assert objects.put_incident(incident(namespace, 2, IncidentState.RESOLVED), [], 103.0) == 0
    assert version() != first
    second = version()
    assert objects.put_incident(incident(namespace, 3, IncidentState.RESOLVED), [], 103.0 + QUIET_S) == 0
    assert version() != second


def test_an_incident_that_somebody_deleted_is_shown_again(cluster: Cluster, namespace: str, controller: Api) -> None:
    objects = Objects(controller)
    objects.put_incident(incident(namespace), [], 0.0)
    admin(cluster).delete(INCIDENT, "web-incident", namespace)
    objects.put_incident(incident(namespace, 9), [], 60.0)
    found = controller.get(INCIDENT, "web-incident", namespace)
    assert found is not None and found["status"]["count"] == 9


def test_a_decision_is_claimed_once_whoever_asks(cluster: Cluster, namespace: str, controller: Api) -> None:
    wanted = decision(namespace, "claim-once")
    assert Objects(controller).claim(wanted)
    assert not Objects(as_controller(cluster)).claim(wanted)
    assert Objects(controller).phase_of(wanted) is Phase.PROPOSED


def test_a_remediation_that_ended_stays_as_it_ended(namespace: str, controller: Api) -> None:
    objects = Objects(controller)
    wanted = decision(namespace, "ends-once")
    objects.claim(wanted)
    for phase in (Phase.RUNNING, Phase.FAILED):
        objects.put_outcome(Outcome(decision=wanted, phase=phase, message="", at=2.0), 0.0)
    with pytest.raises(Rejected, match="stays as it ended"):
        objects.put_outcome(Outcome(decision=wanted, phase=Phase.VERIFIED, message="", at=3.0), 20.0)
    assert objects.phase_of(wanted) is Phase.FAILED


def test_nobody_but_the_controller_writes_records(cluster: Cluster, namespace: str, controller: Api) -> None:
    with pytest.raises(Rejected, match="written by Intact's controller alone"):
        Objects(admin(cluster)).claim(decision(namespace, "forged"))
    with pytest.raises(Rejected, match="written by Intact's controller alone"):
        Objects(admin(cluster)).put_incident(incident(namespace), [], 0.0)
    wanted = decision(namespace, "honest")
    Objects(controller).claim(wanted)
    with pytest.raises(Rejected, match="written by Intact's controller alone"):
        Objects(admin(cluster)).put_outcome(Outcome(decision=wanted, phase=Phase.VERIFIED, message="", at=2.0), 0.0)


def test_a_node_is_written_on_change_and_now_and_then(namespace: str, controller: Api) -> None:
    objects = Objects(controller)
    container = Container(id="c", name="web", image="", image_key=None, node="n1", pod=Pod(namespace="a", name="b", uid="u"))

    def status(heard_at: float, verdict: str = "Intact", unverified_bytes: int = 5) -> NodeStatus:
        coverage = Coverage(
            container=container,
            verdict=verdict,
            baseline_root=None,
            grade="Verified",
            verified_at=heard_at,
            layers_verified_at=heard_at,
            layers_unverified_bytes=unverified_bytes,
        )
        return NodeStatus(node="test-node", heard_at=heard_at, tier="A", coverage=(coverage,))

    def heard() -> str:
        found = controller.get(NODE, "test-node")
        assert found is not None
        return str(found["status"]["heardAt"])

    objects.put_node(status(1000.0), 1000.0)
    first = heard()
    objects.put_node(status(1060.0, unverified_bytes=4), 1060.0)
    assert heard() == first
    objects.put_node(status(1061.0, "Drifted"), 1061.0)
    second = heard()
    assert second != first
    objects.put_node(status(1062.0, "Drifted", unverified_bytes=0), 1062.0 + QUIET_S)
    third = heard()
    assert third != second, "all of its layers are verified"
    found = controller.get(NODE, "test-node")
    assert found is not None and found["status"]["containers"][0]["layersUnverifiedBytes"] == 0
    objects.put_node(status(1062.0 + NODE_REFRESH_S, "Drifted", unverified_bytes=0), 1062.0 + QUIET_S + NODE_REFRESH_S)
    assert heard() != third
    objects.delete_node("test-node")


def test_a_baseline_is_named_by_its_key_and_by_nothing_else(cluster: Cluster, controller: Api) -> None:
    key = Digest.of(b"config")
    aliases = tuple(f"registry.example/{'x' * 400}{n}:1" for n in range(100))
    full = ShownBaseline(
        key=key,
        root=Digest.of(b"root"),
        grade="Signed",
        algorithms=("sha256", "md5"),
        source="docker://" + "x" * 5000,
        signers=("sha256:" + "0" * 64,) * 20,
        platform="linux/amd64",
        aliases=aliases,
        layers=3,
        entries=12,
        size_bytes=5,
        pods=7,
        nodes=2,
        workloads=tuple(f"Deployment shop/{n}" for n in range(30)),
        conditions=(("Ready", True, "Signed", "", 1.0), ("Agreed", False, "NodesDisagree", "m" * 5000, 2.0)),
    )
    Objects(controller).put_baseline(full, 0.0)
    found = controller.get(BASELINE, str(key).replace(":", "-"))
    assert found is not None and found["status"]["entries"] == 12
    body = {"apiVersion": BASELINE.api_version, "kind": BASELINE.kind, "metadata": {"name": "other"}, "spec": {"key": str(key)}}
    with pytest.raises(Rejected, match="the name must be the key"):
        admin(cluster).create(BASELINE, body)
    controller.delete(BASELINE, str(key).replace(":", "-"))


def test_people_see_whether_their_policy_is_in_force(cluster: Cluster, namespace: str, controller: Api) -> None:
    seen: list[int] = []
    store = DeclaredObjects(on_change=lambda: seen.append(1))
    with Follower(controller, ClusterCache(), store, DeclaredObjects()) as follower:
        follower.wait_synced(15)
        admin(cluster).create(POLICY, policy(namespace, EXAMPLE))
        (declared,) = eventually(lambda: [o for _, o in store.declared() if o["metadata"].get("namespace") == namespace])
        assert parse_policy(declared, POLICY.kind).generation == 1

        def shown(problem: str) -> str:
            objects = Objects(controller)
            objects.put_policy_status(POLICY, "web", namespace, generation=1, pods=2, problem=problem, changed_at=AT, now=100.0)
            return cluster.kubectl("get", "ipol", "web", "-n", namespace)

        # Where Intact itself is installed, its controller says once what it thinks of the policy, sooner or later.
        eventually(lambda: "False" in shown("spec.expect[0]: too wide"))
        assert "True" in shown("")
        cluster.kubectl("wait", "--for=condition=Accepted", "ipol/web", "-n", namespace, "--timeout=5s")
        changes = len(seen)
        admin(cluster).delete(POLICY, "web", namespace)
        eventually(lambda: len(seen) > changes)
    # What only its status changed of was told to nobody.
    assert len(seen) == changes + 1


def test_old_records_that_have_ended_are_removed_and_others_stay(namespace: str, controller: Api) -> None:
    objects = Objects(controller)
    done, running = decision(namespace, "long-done"), decision(namespace, "still-running")
    for one, phase in ((done, Phase.VERIFIED), (running, Phase.RUNNING)):
        objects.claim(one)
        objects.put_outcome(Outcome(decision=one, phase=phase, message="", at=1000.0), 0.0)
    objects.put_incident(replace(incident(namespace, 3, IncidentState.RESOLVED), id="long-resolved"), [], 0.0)
    objects.expire(1000.0, 3600.0)
    assert objects.phase_of(done) is Phase.VERIFIED
    assert objects.expire(10_000.0, 3600.0) >= 2
    assert objects.phase_of(done) is None
    assert objects.phase_of(running) is Phase.RUNNING
    assert controller.get(INCIDENT, "long-resolved", namespace) is None


def test_a_process_that_may_not_act_writes_nothing(cluster: Cluster, namespace: str) -> None:
    def refuse() -> None:
        raise TemporaryError("another replica acts", code="NotActing")

    fenced = as_controller(cluster)
    fenced.fence = refuse
    with pytest.raises(TemporaryError, match="another replica acts"):
        Objects(fenced).claim(decision(namespace, "fenced"))
    assert fenced.get(REMEDIATION, "fenced", namespace) is None
