"""A pod's node, and the agent that runs there: how `intact diff` reaches the bytes of a pod with nothing but the caller's own rights.

The caller needs to read the pod and the pods of Intact's namespace, and to exec into them (`pods/exec`): what the API server grants and
records. The agent itself grants nothing and listens to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from intact.model.entry import display_path
from intact.model.errors import InputError

from .in_cluster import call_in_pod

MOST_BYTES = 16 << 20
_AGENTS = "app.kubernetes.io/name=intact,app.kubernetes.io/component=agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """`target` is `NAMESPACE/POD` or `NAMESPACE/POD/CONTAINER`, of a pod that exists."""

    target: str
    uid: str
    node: str


def find_pod(wanted: str) -> Pod:
    """`[NAMESPACE/]POD[/CONTAINER]` in the cluster of the kubeconfig. Raises InputError where there is none, or it runs nowhere yet."""
    try:
        from intact.adapters.cluster.api import Api
        from intact.adapters.cluster.kinds import POD
    except ModuleNotFoundError as error:
        raise InputError(f"reading a cluster needs the Python package {error.name}", hint="pip install 'intact[cli]'") from None
    api = Api()
    try:
        namespace, name, *container = wanted.split("/") if "/" in wanted else (api.namespace, wanted)
        found = api.get(POD, name, namespace) if name and len(container) < 2 else None
    finally:
        api.close()
    if found is None:
        raise InputError(f"there is no pod {display_path(wanted.encode(), 300)}", code="NoPod", hint="NAMESPACE/POD, or POD with -n")
    node = str((found.get("spec") or {}).get("nodeName") or "")
    if not node:
        raise InputError(f"the pod {namespace}/{name} is on no node yet", code="NoNode")
    return Pod(target="/".join((namespace, name, *container)), uid=str(found["metadata"]["uid"]), node=node)


def ask_agent(pod: Pod, arguments: list[str], *, namespace: str) -> bytes:
    """What `intact ARGUMENTS` prints in the agent's pod on the node of `pod`. Raises InputError where none runs, or it says too much."""
    from intact.adapters.cluster.api import Api
    from intact.adapters.cluster.kinds import POD

    api = Api()
    try:
        agents = [one for one in api.list_all(POD, namespace, labels=_AGENTS) if (one.get("spec") or {}).get("nodeName") == pod.node]
    finally:
        api.close()
    running = [one for one in agents if (one.get("status") or {}).get("phase") == "Running"]
    if not running:
        raise InputError(f"no agent runs on {pod.node}: what its pods hold cannot be seen", code="NoAgent", hint="intact status")
    click.echo(f"asking the agent on {pod.node}", err=True)
    said = bytearray()
    for chunk in call_in_pod(f"pod/{running[0]['metadata']['name']}", "agent", arguments, namespace=namespace):
        said += chunk
        if len(said) > MOST_BYTES:
            raise InputError(f"the agent on {pod.node} says more than {MOST_BYTES >> 20} MiB", code="TooMuch", hint="name one container")
    return bytes(said)
