"""The chart gives exactly the rights that are written down here: more is a hole, less does not work."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from lab.cluster import Cluster
from tests.cluster.kubernetes import CHART, NAMESPACE, helm, install_chart

Object = dict[str, Any]


def render(cluster: Cluster, *settings: str) -> list[Object]:
    options = [part for setting in ("image.repository=registry.example/intact", *settings) for part in ("--set", setting)]
    done = helm(cluster, "template", "intact", str(CHART), "-n", NAMESPACE, "--kube-version", "v1.35.0", *options)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def rights(role: Object) -> set[tuple[str, str, str, str]]:
    """(group, resource, name or *, verb), one each."""
    return {
        (group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
        for verb in rule["verbs"]
    }


def every(group: str, resources: str, verbs: str, name: str = "*") -> set[tuple[str, str, str, str]]:
    return {(group, resource, name, verb) for resource in resources.split() for verb in verbs.split()}


def test_it_passes_helms_own_lint(cluster: Cluster) -> None:
    done = helm(cluster, "lint", str(CHART), "--strict", "--set", "image.repository=registry.example/intact")
    assert done.returncode == 0, done.stdout


def test_the_agent_has_three_capabilities_and_no_more(cluster: Cluster) -> None:
    pod = one(render(cluster), "DaemonSet", "intact-agent")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN", "DAC_READ_SEARCH", "SYS_PTRACE"]},
    }
    assert pod["hostPID"] is True
    assert "hostNetwork" not in pod and "hostIPC" not in pod
    assert pod["automountServiceAccountToken"] is False
    assert "initContainers" not in pod


def test_the_agent_writes_to_one_directory_of_the_host_only(cluster: Cluster) -> None:
    pod = one(render(cluster), "DaemonSet", "intact-agent")["spec"]["template"]["spec"]
    host = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v}
    mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
    assert set(host.values()) == {"/var/lib/intact", "/run/containerd", "/var/lib/containerd"}
    assert all(mounts[name]["mountPath"] == path for name, path in host.items())
    assert [host[name] for name in host if not mounts[name].get("readOnly")] == ["/var/lib/intact"]
    assert mounts["storage"]["mountPropagation"] == mounts["runtime"]["mountPropagation"] == "HostToContainer"


def test_the_agents_token_is_for_the_controller_alone_and_it_waits_for_the_ca(cluster: Cluster) -> None:
    pod = one(render(cluster), "DaemonSet", "intact-agent")["spec"]["template"]["spec"]
    volumes = {v["name"]: v for v in pod["volumes"]}
    (source,) = volumes["token"]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "intact"
    assert volumes["ca"]["configMap"] == {"name": "intact-ca"}


def test_the_controller_is_an_ordinary_pod_of_an_ordinary_user(cluster: Cluster) -> None:
    deployment = one(render(cluster), "Deployment", "intact-controller")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any("hostPath" in v for v in pod["volumes"])
    assert not any(pod.get(f"host{what}") for what in ("PID", "IPC", "Network"))
    assert {p: container[p]["httpGet"]["path"] for p in ("livenessProbe", "readinessProbe")} == {
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }


def test_replicas_that_share_a_database_need_no_volume_and_are_kept_apart(cluster: Cluster) -> None:
    settings = ("controller.replicas=3", "database.secretName=db", "database.caSecretName=authority")
    objects = render(cluster, *settings)
    deployment = one(objects, "Deployment", "intact-controller")["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (3, "RollingUpdate")
    pod = deployment["template"]["spec"]
    (term,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["state"] == {"name": "state", "emptyDir": {}} and volumes["database-ca"]["secret"]["secretName"] == "authority"
    env = {one["name"]: one for one in pod["containers"][0]["env"]}
    assert env["INTACT_DATABASE_URL"]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "url"}}
    assert not [one for one in objects if one["kind"] == "PersistentVolumeClaim"]
    assert one(objects, "PodDisruptionBudget", "intact-controller")["spec"]["maxUnavailable"] == 1
    assert not [one for one in render(cluster, "database.secretName=db") if one["kind"] == "PodDisruptionBudget"]


def test_a_bucket_reaches_the_controller_and_nobody_else(cluster: Cluster) -> None:
    settings = ("objects.url=s3://b/p", "objects.endpoint=https://s3:9000", "objects.secretName=keys", "objects.caSecretName=authority")
    objects = render(cluster, *settings)
    pod = one(objects, "Deployment", "intact-controller")["spec"]["template"]["spec"]
    env = {one["name"]: one for one in pod["containers"][0]["env"]}
    assert {name: env[name]["value"] for name in env if name.startswith("INTACT_OBJECTS_")} == {
        "INTACT_OBJECTS_URL": "s3://b/p",
        "INTACT_OBJECTS_ENDPOINT": "https://s3:9000",
        "INTACT_OBJECTS_REGION": "",
        "INTACT_OBJECTS_PLAIN_HTTP": "false",
        "INTACT_OBJECTS_VIRTUAL_HOSTED": "false",
        "INTACT_OBJECTS_CA_FILE": "/etc/intact/objects/ca.crt",
    }
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert env[name]["valueFrom"] == {"secretKeyRef": {"name": "keys", "key": name}}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts["objects-ca"] == "/etc/intact/objects" and volumes["objects-ca"]["secret"]["secretName"] == "authority"
    agent = json.dumps(one(objects, "DaemonSet", "intact-agent"))
    assert "AWS_" not in agent and "INTACT_OBJECTS" not in agent and "objects-ca" not in agent


def test_several_replicas_without_a_database_are_refused(cluster: Cluster) -> None:
    settings = ("--set", "image.repository=r/i", "--set", "controller.replicas=3", "--set", "objects.url=s3://b")
    done = helm(cluster, "template", str(CHART), "--kube-version", "v1.35.0", *settings)
    assert done.returncode != 0
    assert "more than one need a database that they share" in done.stderr and "database.secretName" in done.stderr


def test_the_controller_has_exactly_these_rights(cluster: Cluster) -> None:
    objects = render(cluster)
    records = "integrityincidents remediations nodeintegrities imagebaselines"
    policies = "integritypolicies clusterintegritypolicies"
    assert rights(one(objects, "ClusterRole", "intact-controller")) == (
        every("", "pods", "get list watch")
        | every("", "nodes", "list watch")
        | every("apps", "deployments", "get list watch")
        | every("apps", "replicasets", "list watch")
        | every("intact.dev", f"{policies} imagebaselines", "list watch")
        | every("intact.dev", " ".join(f"{p}/status" for p in policies.split()), "patch")
        | every("intact.dev", records, "get list create patch delete")
        | every("intact.dev", " ".join(f"{r}/status" for r in records.split()), "patch")
        | every("events.k8s.io", "events", "create")
        | every("authentication.k8s.io", "tokenreviews", "create")
        | every("authorization.k8s.io", "subjectaccessreviews", "create")
    )
    assert rights(one(objects, "ClusterRole", "intact-controller-actions")) == (
        every("", "pods/eviction", "create") | every("apps", "deployments", "patch") | every("", "configmaps secrets", "get")
    )
    assert rights(one(objects, "Role", "intact-controller")) == (
        every("", "secrets", "get update", "intact-controller-keys")
        | every("", "configmaps", "get update", "intact-ca")
        | every("", "secrets configmaps", "create")
        | every("coordination.k8s.io", "leases", "get update", "intact-controller")
        | every("coordination.k8s.io", "leases", "create")
    )


def test_nobody_else_is_bound_to_anything_and_there_is_no_wildcard(cluster: Cluster) -> None:
    objects = render(cluster)
    bindings = [o for o in objects if o["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    assert {s["name"] for b in bindings for s in b["subjects"]} == {"intact-controller"}
    roles = [o for o in objects if o["kind"] in ("ClusterRole", "Role")]
    assert not any("*" in (group, resource, verb) for role in roles for group, resource, _, verb in rights(role))


@pytest.mark.parametrize(
    ("setting", "gone"),
    [
        ("actions.enabled=false", every("", "pods/eviction", "create") | every("apps", "deployments", "patch")),
        ("actions.checkSecrets=false", every("", "secrets", "get")),
    ],
)
def test_rights_that_are_not_wanted_are_not_given(cluster: Cluster, setting: str, gone: set[tuple[str, str, str, str]]) -> None:
    given: set[tuple[str, str, str, str]] = set()
    for role in render(cluster, setting):
        if role["kind"] == "ClusterRole":
            given |= rights(role)
    assert not given & gone


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("image.digest=latest", "digest"),
        ("notify.syslog=udp://x:1", "syslog"),
        ("runtime.socket=containerd.sock", "socket"),
        ("agent.privileged=true", "privileged"),
        ("persistence.size=much", "size"),
        ("controller.replicas=0", "replicas"),
        ("database.url=mysql://host/db", "url"),
    ],
)
def test_a_wrong_value_is_named(cluster: Cluster, setting: str, named: str) -> None:
    done = helm(cluster, "template", str(CHART), "--kube-version", "v1.35.0", "--set", "image.repository=r/i", "--set", setting)
    assert done.returncode != 0
    assert named in done.stderr


def test_an_image_must_be_named(cluster: Cluster) -> None:
    done = helm(cluster, "template", str(CHART), "--kube-version", "v1.35.0")
    assert done.returncode != 0
    assert "image.repository" in done.stderr


def test_settings_reach_the_processes(cluster: Cluster) -> None:
    objects = render(cluster, "notify.syslog=tcp://logs:601", "registries.insecure={a:5000,b:5000}", "agent.controllerUrl=https://c:8443")
    controller = one(objects, "Deployment", "intact-controller")["spec"]["template"]["spec"]["containers"][0]
    environment = {e["name"]: e.get("value") for e in controller["env"]}
    assert environment["INTACT_SYSLOG"] == "tcp://logs:601"
    assert environment["INTACT_REGISTRIES_FILE"] == "/etc/intact/registries/registries.json"
    configuration = json.loads(one(objects, "ConfigMap", "intact-registries")["data"]["registries.json"])
    assert configuration["plainHttp"] == ["a:5000", "b:5000"]
    agent = one(objects, "DaemonSet", "intact-agent")["spec"]["template"]["spec"]["containers"][0]
    assert {e["name"]: e.get("value") for e in agent["env"]}["INTACT_CONTROLLER_URL"] == "https://c:8443"


def test_registries_are_configured_without_a_right_more(cluster: Cluster) -> None:
    settings = ("registries.pullSecrets={one,two}", "registries.caConfigMap=corporate", "registries.mirrors.docker\\.io={m.example/hub}")
    objects = render(cluster, *settings)
    configuration = json.loads(one(objects, "ConfigMap", "intact-registries")["data"]["registries.json"])
    assert configuration["mirrors"] == {"docker.io": ["m.example/hub"]}
    pod = one(objects, "Deployment", "intact-controller")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert configuration["authDirectory"] == mounts["pull-secrets"]
    assert configuration["caFiles"] == [f"{mounts['registry-ca']}/ca.crt"]
    assert [source["secret"]["name"] for source in volumes["pull-secrets"]["projected"]["sources"]] == ["one", "two"]
    kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    assert [o for o in objects if o["kind"] in kinds] == [o for o in render(cluster) if o["kind"] in kinds]


def test_a_trusted_root_of_ones_own_sigstore_reaches_the_controller_and_nobody_else(cluster: Cluster) -> None:
    objects = render(cluster, "baselines.sigstoreTrustedRoot=given")
    assert one(objects, "ConfigMap", "intact-sigstore")["data"] == {"trusted_root.json": "given"}
    pod = one(objects, "Deployment", "intact-controller")["spec"]["template"]["spec"]
    environment = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert environment["INTACT_SIGSTORE_TRUSTED_ROOT"] == f"{mounts['sigstore']}/trusted_root.json"
    assert {"name": "sigstore", "configMap": {"name": "intact-sigstore"}} in pod["volumes"]
    assert "sigstore" not in json.dumps(one(objects, "DaemonSet", "intact-agent")).lower()
    assert "INTACT_SIGSTORE" not in json.dumps(render(cluster))


def test_definitions_are_updated_by_upgrade_and_kept_by_uninstall(cluster: Cluster) -> None:
    definitions = [o for o in render(cluster) if o["kind"] == "CustomResourceDefinition"]
    assert len(definitions) == 6
    assert all(d["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for d in definitions)
    assert not [o for o in render(cluster, "crds.install=false") if o["kind"] == "CustomResourceDefinition"]


def test_both_kinds_of_policy_have_one_grammar(cluster: Cluster) -> None:
    objects = render(cluster)
    namespaced = one(objects, "CustomResourceDefinition", "integritypolicies.intact.dev")["spec"]["versions"]
    clusterwide = one(objects, "CustomResourceDefinition", "clusterintegritypolicies.intact.dev")["spec"]["versions"]
    assert namespaced == clusterwide


def test_the_rights_hold_on_a_real_cluster(cluster: Cluster) -> None:
    install_chart(cluster)

    def may(account: str, *what: str) -> bool:
        who = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
        return cluster.kubectl("auth", "can-i", *what, who, check=False).strip() == "yes"

    assert may("intact-controller", "patch", "deployments", "-n", "default")
    assert may("intact-controller", "create", "pods", "--subresource=eviction", "-n", "default")
    assert not may("intact-controller", "delete", "pods", "-n", "default")
    assert not may("intact-controller", "list", "secrets", "-n", "default")
    assert not may("intact-controller", "update", "deployments", "-n", "default")
    assert not may("intact-controller", "create", "pods", "-n", NAMESPACE)
    for what in (("get", "pods"), ("list", "secrets"), ("get", "configmaps"), ("create", "remediations.intact.dev")):
        assert not may("intact-agent", *what, "-n", NAMESPACE), what
    listed = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    ours = [d for d in listed if d["spec"]["group"] == "intact.dev"]
    assert len(ours) == 6
    assert all(c["status"] != "True" for d in ours for c in d["status"]["conditions"] if c["type"] == "NonStructuralSchema")
