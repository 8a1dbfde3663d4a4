"""Who the controller believes: the agents' account, for its own audience, bound to a pod, on the node the cluster says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import User

from intact.adapters.cluster.api import Api, Unauthorized
from intact.adapters.cluster.cache import ClusterCache
from intact.adapters.cluster.identity import AccessReviewer, TokenReviewer
from intact.adapters.cluster.kinds import CONFIG_MAP
from intact.model.errors import TrustError
from lab.cluster import Cluster
from lab.images import busybox_image
from tests.cluster.kubernetes import NAMESPACE, apply, as_controller, fresh_namespace, install_chart


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Api:
    install_chart(cluster)
    return as_controller(cluster)


@pytest.fixture(scope="module")
def agent_pod(cluster: Cluster, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A pod of the agents' account that runs, with a projected token as the chart's."""
    layout = busybox_image(tmp_path_factory.mktemp("image"), f"{cluster.registry}/intact-tests/agent:1")
    image = layout.push(cluster.registry, "intact-tests/agent:1")
    token = {"serviceAccountToken": {"path": "token", "audience": "intact", "expirationSeconds": 3600}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "identity-test", "namespace": NAMESPACE},
        "spec": {
            "serviceAccountName": "intact-agent",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "a", "image": image, "volumeMounts": [{"name": "t", "mountPath": "/t"}]}],
            "volumes": [{"name": "t", "projected": {"sources": [token]}}],
        },
    }
    apply(cluster, pod)
    try:
        cluster.kubectl("wait", "--for=condition=Ready", "pod/identity-test", "-n", NAMESPACE, "--timeout=60s")
        yield "identity-test"
    finally:
        cluster.kubectl("delete", "pod", "identity-test", "-n", NAMESPACE, "--wait=false")


def reviewer(api: Api, account: str = "intact-agent") -> TokenReviewer:
    return TokenReviewer(api, ClusterCache(), namespace=NAMESPACE, service_account=account)


def token_of(cluster: Cluster, pod: str) -> str:
    return cluster.kubectl("exec", pod, "-n", NAMESPACE, "--", "cat", "/t/token").strip()


def test_an_agents_token_names_its_node_and_pod(cluster: Cluster, api: Api, agent_pod: str) -> None:
    uid = cluster.kubectl("get", "pod", agent_pod, "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}")
    identity = reviewer(api).identify(token_of(cluster, agent_pod))
    assert (identity.node, identity.pod_uid) == ("node1", uid)
    assert identity.service_account == f"system:serviceaccount:{NAMESPACE}:intact-agent"


def test_an_agents_token_is_nothing_to_the_kubernetes_api(cluster: Cluster, agent_pod: str) -> None:
    where = next(iter(KubeConfig.from_file(str(cluster.kubeconfig)).clusters.values()))
    agent = Api(KubeConfig.from_one(cluster=where, user=User(token=token_of(cluster, agent_pod))))
    with pytest.raises(Unauthorized):
        agent.get(CONFIG_MAP, "kube-root-ca.crt", "default")


def test_a_token_of_another_account_audience_or_without_a_pod_is_refused(cluster: Cluster, api: Api, agent_pod: str) -> None:
    def create(account: str, *more: str) -> str:
        return cluster.kubectl("create", "token", account, "-n", NAMESPACE, *more).strip()

    bound = ("--bound-object-kind=Pod", f"--bound-object-name={agent_pod}")
    with pytest.raises(TrustError, match="not the agents' account"):
        reviewer(api).identify(create("intact-controller", "--audience=intact"))
    with pytest.raises(TrustError) as other_audience:
        reviewer(api).identify(create("intact-agent", *bound))
    assert other_audience.value.code == "Unauthenticated"
    with pytest.raises(TrustError, match="not bound to a pod"):
        reviewer(api).identify(create("intact-agent", "--audience=intact"))
    with pytest.raises(TrustError, match="does not know this token"):
        reviewer(api).identify("not.a.token")


def test_people_read_what_the_clusters_rbac_lets_them(cluster: Cluster, api: Api) -> None:
    with fresh_namespace(cluster) as shop:
        cluster.kubectl("create", "serviceaccount", "reader", "-n", shop)
        cluster.kubectl("create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={shop}:reader", "-n", shop)
        token = cluster.kubectl("create", "token", "reader", "-n", shop).strip()
        access = AccessReviewer(api)
        assert access.authorize(token, verb="list", resource="integrityincidents", namespace=shop) == f"system:serviceaccount:{shop}:reader"
        with pytest.raises(TrustError, match="may not list integrityincidents") as everywhere:
            access.authorize(token, verb="list", resource="integrityincidents")
        assert everywhere.value.code == "Forbidden"
        with pytest.raises(TrustError) as unknown:
            access.authorize("nobody", verb="list", resource="integrityincidents")
        assert unknown.value.code == "Unauthenticated"
