"""Several nodes: what they agree on counts for the workload, and no node speaks for another."""

from __future__ import annotations

import dataclasses
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.adapters.seam.https import Endpoint, HttpsCluster
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import TrustError
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.seam import Coverage, Report
from lab.settings import LabError
from tests.cluster.kubernetes import eventually
from tests.cluster.whole import ENDED, PAGE, ROLL_BACK, SYSTEM, Image, Installed, Object, Shop

SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "spread"}},
    }
]


@pytest.fixture(scope="module")
def v1(installed: Installed) -> Image:
    return installed.push("v1")


# -- corroboration -------------------------------------------------------------------------------------------------------


def test_the_same_drift_on_two_nodes_comes_from_the_revision_and_is_rolled_back(installed: Installed, shop: Shop, v1: Image) -> None:
    guard = {"cooldown": "1s", "rollback": {"soak": "1s"}}
    shop.policy("spread", mode="Observe", guard=guard)
    shop.deploy("spread", v1.tag, replicas=3, topologySpreadConstraints=SPREAD)
    shop.wait_intact("spread")
    time.sleep(17)  # the nodes say every 15 seconds that they still look
    shop.kubectl("set", "image", "deployment/spread", f"web={installed.push('v2').tag}")
    shop.wait_rolled_out("spread")
    by_node = {pod["spec"]["nodeName"]: pod for pod in shop.pods("spread")}
    nodes = sorted(by_node)[:2]
    bad = [by_node[node] for node in nodes]
    for pod in bad:
        shop.run_in(pod, f"echo owned >{PAGE}")
    status = shop.wait_incident("spread", lambda status: status["cause"] == "Revision", 30)["status"]
    assert (status["podCount"], status["nodes"]) == (2, nodes)
    assert shop.remediations("spread") == []
    shop.policy("spread", mode="Enforce", guard=guard)  # no rule of its own: the default cure of the cause
    done = shop.wait_phase("spread", "RollBack", *ENDED, timeout_s=90)
    assert done["status"]["phase"] == "Verified", done["status"]
    assert {shop.run_in(pod, f"cat {PAGE}").strip() for pod in shop.pods("spread")} == {"shop v1"}
    assert shop.remediations("spread", "RestartPod") == []


def test_one_nodes_word_alone_rolls_nothing_back(installed: Installed, shop: Shop, v1: Image) -> None:
    shop.policy("web", mode="Enforce", respond=ROLL_BACK, guard={"cooldown": "0s", "rollback": {"to": "Previous"}})
    shop.deploy("web", v1.tag, replicas=2, nodeSelector={"kubernetes.io/hostname": "node2"})
    shop.wait_intact("web")
    shop.kubectl("set", "image", "deployment/web", f"web={installed.push('v2').tag}")
    shop.wait_rolled_out("web")
    before = shop.uids("web")
    for pod in shop.pods("web"):
        shop.run_in(pod, f"echo owned >{PAGE}")
    refused = shop.wait_phase("web", "RollBack", *ENDED)
    assert refused["status"]["phase"] == "Refused"
    assert refused["status"]["message"] == "corroboration: only one node reports it, the policy requires TwoNodes"
    shop.wait_incident("web", lambda status: status["podCount"] == 2, 30)
    time.sleep(2)
    assert shop.uids("web") == before and shop.phases("web") == ["Refused"]


# -- a stolen agent ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def controller_port(installed: Installed) -> Iterator[int]:
    command = [str(installed.cluster.binaries / "kubectl"), "-n", SYSTEM, "port-forward", "service/intact-controller", ":8443"]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=installed.cluster.environment, stdin=subprocess.DEVNULL)
    assert forward.stdout is not None
    try:
        yield int(forward.stdout.readline().split("->")[0].rpartition(":")[2])
    finally:
        forward.terminate()
        forward.wait(10)


Speak = Callable[[str], HttpsCluster]


@pytest.fixture
def speak_with(installed: Installed, controller_port: int, tmp_path: Path) -> Iterator[Speak]:
    """The agent's own end of the seam, from outside of the cluster, with any token."""
    ca = tmp_path / "ca.crt"
    ca.write_text(installed.kubectl("-n", SYSTEM, "get", "configmap", "intact-ca", "-o", r"jsonpath={.data.ca\.crt}"))
    opened: list[HttpsCluster] = []

    def speak(token: str) -> HttpsCluster:
        file = tmp_path / f"token{len(opened)}"
        file.write_text(token)
        name = f"intact-controller.{SYSTEM}.svc"
        endpoint = Endpoint(url=f"https://127.0.0.1:{controller_port}", server_name=name, ca_file=ca, token_file=file)
        opened.append(HttpsCluster(endpoint, "node2", time.time))
        return opened[-1]

    yield speak
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def token(installed: Installed) -> str:
    """The real token of the agent of node2, stolen from its disk."""
    uid = installed.agent_on("node2")["metadata"]["uid"]
    path = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~projected/token/token"
    return installed.cluster.run_on_node("cat", path, node_number=installed.node_number("node2")).stdout.strip()


def report_about(pod: Object, *, node: str, container_node: str = "") -> Report:
    """That a file was changed in the pod: a lie."""
    meta = pod["metadata"]
    container = Container(
        id="f" * 64,
        name="web",
        image="none.invalid/web",
        image_key=Digest.parse(f"sha256:{'1' * 64}"),
        node=container_node or node,
        pod=Pod(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
    )
    entry = Entry(path=b"/etc/forged", kind=Kind.FILE, mode=0o755, uid=0, gid=0, size_bytes=1, digest=Digest.parse(f"sha256:{'2' * 64}"))
    finding = Finding(
        container=container,
        difference=Difference(path=b"/etc/forged", change=Change.ADDED, expected=None, actual=entry),
        level=Level.CRITICAL,
        rule="control-file-added",
        scope=Scope.DRIFT,
        baseline_root=Digest.parse(f"sha256:{'3' * 64}"),
        grade=Grade.VERIFIED,
        observed_at=time.time(),
    )
    verdict = Verdict(container=container, state=State.DRIFTED, scope=Scope.DRIFT, findings=(finding,), at=time.time())
    return Report(id=uuid.uuid4().hex, node=node, at=time.time(), verdicts=(verdict,))


def test_a_stolen_agent_cannot_speak_of_another_nodes_pods(
    installed: Installed, shop: Shop, v1: Image, token: str, speak_with: Speak
) -> None:
    shop.policy("web", mode="Enforce", respond=ROLL_BACK, guard={"corroboration": "Reporter"})
    shop.deploy("web", v1.digest, nodeSelector={"kubernetes.io/hostname": "node3"})
    (pod,) = shop.pods("web")
    stolen = speak_with(token)
    lies = {
        "a pod of another node": report_about(pod, node="node2"),
        "in another node's name": report_about(pod, node="node3"),
        "a container of another node": report_about(pod, node="node2", container_node="node3"),
    }
    before = len(installed.recorded("ForgedReport"))
    for what, lie in lies.items():
        with pytest.raises(TrustError) as refused:
            stolen.submit(lie)
        assert refused.value.code == "ForgedReport", what
    forged = installed.recorded("ForgedReport")
    assert len(forged) == before + len(lies) and {leaf["node"] for leaf in forged} == {"node2"}
    assert eventually(lambda: installed.receivers.lines("ForgedReport", "node2"), 30)
    assert installed.receivers.events("ForgedReport", "node2")[0]["data"]["level"] == "Critical"
    time.sleep(2)
    assert shop.incidents() == [] and shop.remediations("web") == []
    stolen.submit(dataclasses.replace(lies["a pod of another node"], verdicts=()))  # its own name it may use


def test_a_stolen_agent_that_lies_about_an_image_is_named_and_nothing_is_done(
    installed: Installed, shop: Shop, v1: Image, token: str, speak_with: Speak
) -> None:
    shop.policy("web", mode="Enforce", respond=ROLL_BACK, guard={"corroboration": "Reporter", "cooldown": "0s"})
    shop.deploy("web", v1.digest, nodeSelector={"kubernetes.io/hostname": "node2"})
    shop.wait_intact("web")
    (pod,) = shop.pods("web")
    meta, lie = pod["metadata"], Digest.parse(f"sha256:{'9' * 64}")
    eventually(lambda: installed.kubectl("get", "imagebaseline", v1.config.replace(":", "-"), "--ignore-not-found"), 60)
    container = Container(
        id="e" * 64,
        name="web",
        image=v1.digest,
        image_key=Digest.parse(v1.config),
        node="node2",
        pod=Pod(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
    )
    said = Coverage(
        container=container, verdict="Intact", baseline_root=lie, grade="Verified", verified_at=time.time(), layers_verified_at=time.time()
    )  # fmt: skip
    stolen = speak_with(token)

    def about_node2(*states: str) -> Object | None:
        about = [one for one in installed.read("incidents", "-n", SYSTEM)["items"] if one["spec"]["subject"] == "Node/node2"]
        now = [one for one in about if one.get("status", {}).get("state") in states]
        return next((one for one in now if v1.config in {matter["about"] for matter in one["status"]["matters"]}), None)

    def accuse() -> Object | None:
        # The real agent of the node goes on telling the truth: the lie is told until it was heard.
        if (found := about_node2("Open", "Resolved")) is None:
            stolen.submit(Report(id=uuid.uuid4().hex, node="node2", at=time.time(), coverage=(said,)))
        return found

    incident = eventually(accuse, 60)
    assert (incident["status"]["cause"], incident["status"]["level"], incident["status"]["nodes"]) == ("Node", "Critical", ["node2"])
    assert str(lie) in incident["status"]["matters"][0]["text"] and v1.config in incident["status"]["matters"][0]["text"]
    assert eventually(lambda: installed.receivers.lines("IncidentOpened", "Node node2"), 30)
    healed = eventually(lambda: about_node2("Resolved"), 60)  # by the real agent's next word
    assert healed["status"].get("actions", []) == [] and shop.remediations("web") == []
    assert [leaf["incident"] for leaf in installed.recorded("IncidentResolved")].count(healed["metadata"]["name"])


def test_only_an_agents_own_token_opens_the_door(installed: Installed, speak_with: Speak) -> None:
    create = ("-n", SYSTEM, "create", "token")
    agent = installed.agent_on("node2")["metadata"]
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={agent['name']}", f"--bound-object-uid={agent['uid']}")
    strangers = {
        "another audience": installed.kubectl(*create, "intact-agent", "--audience=vault", *bound).strip(),
        "another service account": installed.kubectl(*create, "intact-controller", "--audience=intact").strip(),
        "not a pod's": installed.kubectl(*create, "intact-agent", "--audience=intact").strip(),
        "nobody's": "nonsense",
    }
    for what, stranger in strangers.items():
        with pytest.raises(TrustError) as refused:
            speak_with(stranger).fetch_plan("")
        assert refused.value.code == "Unauthenticated", what
    proper = installed.kubectl(*create, "intact-agent", "--audience=intact", *bound).strip()
    assert speak_with(proper).fetch_plan("") is not None


def test_the_agents_token_is_worth_nothing_to_the_kubernetes_api(installed: Installed, token: str) -> None:
    with pytest.raises(LabError, match=r"Unauthorized|logged in"):
        installed.kubectl(f"--token={token}", "--client-certificate=", "get", "namespaces")
