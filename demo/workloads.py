"""The objects of the demo: three Deployments of the same shop, each under a policy of its own."""

from __future__ import annotations

from collections.abc import Mapping

NAMESPACE = "intact-demo"
API = "intact.dev/v1alpha1"
ROLLED_BACK, OBSERVED, CURED = "web", "catalog", "cart"


def namespace() -> Mapping[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def deployment(name: str, image: str, replicas: int = 2) -> Mapping[str, object]:
    container = {
        "name": "nginx",
        "image": image,
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"path": "/version.txt", "port": 80}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def policies() -> tuple[Mapping[str, object], ...]:
    """`web`: any change of an image file rolls the Deployment back. `catalog`: alerts only. `cart`: the default cure of the cause."""
    return (
        _policy(
            ROLLED_BACK,
            mode="Enforce",
            respond=[{"when": {"level": "Medium"}, "do": ["RollBack"]}],
            guard={"corroboration": "Reporter", "cooldown": "30s", "rollback": {"to": "LastKnownGood", "soak": "5s"}},
        ),
        _policy(OBSERVED, mode="Observe"),
        _policy(CURED, mode="Enforce"),
    )


def _policy(app: str, **spec: object) -> Mapping[str, object]:
    whole = {"selector": {"matchLabels": {"app": app}}, "watch": {"interval": "10s"}, **spec}
    return {"apiVersion": API, "kind": "IntegrityPolicy", "metadata": {"name": app, "namespace": NAMESPACE}, "spec": whole}
