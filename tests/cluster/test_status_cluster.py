"""`intact status` and `intact incident` on a real cluster: with the rights of whoever asks, from Intact as people install it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import install
from lab.cluster import Cluster
from lab.images import busybox_image
from tests.cluster.kubernetes import deployment, eventually, fresh_namespace, roll_out

NAME = "intact-tests/status"


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace with a Deployment that nobody has touched yet, watched by Intact."""
    install.install(cluster, values={"registries.insecure[0]": cluster.registry})
    layout = busybox_image(tmp_path_factory.mktemp("image"), f"{cluster.registry}/{NAME}:1")
    image = layout.push(cluster.registry, f"{NAME}:1")
    with fresh_namespace(cluster) as name:
        roll_out(cluster, deployment("web", name, image, replicas=1))
        yield name


def intact(cluster: Cluster, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**cluster.environment, "KUBECONFIG": str(kubeconfig or cluster.kubeconfig)}
    done = subprocess.run([sys.executable, "-m", "intact", *arguments], capture_output=True, text=True, timeout=60, env=environment)
    assert "Traceback" not in done.stderr
    return done


def test_a_deployment_is_intact_until_it_is_tampered_with_and_then_named(cluster: Cluster, namespace: str) -> None:
    def shown_intact() -> bool:
        rows = json.loads(intact(cluster, "status", "-n", namespace, "--output", "json").stdout)
        return bool(rows[-1]["exit_code"] == 0 and rows[-1]["intact"] == 2)  # the container and its sandbox

    eventually(shown_intact, 90)
    line = intact(cluster, "status", "-n", namespace).stdout.splitlines()[-1]
    assert line.startswith(f"INTACT: 2 containers in namespace {namespace}, all as their images say. Baselines: ")

    cluster.kubectl("-n", namespace, "exec", "deployment/web", "--", "sh", "-c", "echo x > /bin/id.new && mv /bin/id.new /bin/id")
    done = eventually(lambda: found if (found := intact(cluster, "status", "-n", namespace)).returncode == 1 else None, 60)
    assert "NOT INTACT" in done.stdout.splitlines()[-1]

    listed = eventually(lambda: json.loads(intact(cluster, "incident", "list", "-n", namespace, "--output", "json").stdout), 60)
    (incident,) = listed
    shown = intact(cluster, "incident", "show", incident["incident"], "-n", namespace).stdout
    assert "workload:   Deployment/web" in shown and "/bin/id" in shown and "sha256:" in shown
    assert "no action was decided" in shown
    assert intact(cluster, "incident", "show", incident["incident"]).returncode == 10


def test_somebody_with_the_role_view_in_one_namespace_sees_that_namespace_and_no_more(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "reader")
    cluster.kubectl("-n", namespace, "create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={namespace}:reader")
    token = cluster.kubectl("-n", namespace, "create", "token", "reader").strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
    kubeconfig.chmod(0o600)
    config = f"--kubeconfig={kubeconfig}"
    cluster.kubectl(config, "config", "set-credentials", "reader", f"--token={token}")
    context = cluster.kubectl(config, "config", "current-context").strip()
    cluster.kubectl(config, "config", "set-context", context, "--user=reader", f"--namespace={namespace}")
    time.sleep(1)  # the role's aggregation reaches the authorizer

    assert intact(cluster, "incident", "list", kubeconfig=kubeconfig).returncode == 0
    done = intact(cluster, "status", "-n", namespace, kubeconfig=kubeconfig)
    assert done.returncode in (1, 3) and "nodeintegrities" in done.stdout.splitlines()[-1]
    refused = intact(cluster, "incident", "list", "-A", kubeconfig=kubeconfig)
    assert refused.returncode == 13 and "forbidden" in refused.stderr and refused.stderr.count("\n") <= 2
