"""A pod's node, and the agent that runs there: how `intact diff` reaches the bytes of a pod with nothing but the caller's own rights.

The caller needs to read the pod and the pods of Intact's namespace, and to exec into them (`pods/exec`): what the API server grants and
records. The agent itself grants nothing and listens to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from intact.adapters.runtime.identity import SANDBOX_NAME
from intact.model.container import Container
from intact.model.container import Pod as PodOf
from intact.model.entry import display_path
from intact.model.errors import InputError

from .in_cluster import call_in_pod

MOST_BYTES = 16 << 20
PATIENCE_S = 600.0
"""For the look: the layers of large images are read from a slow disk."""
UNREADY_S = 60.0
"""The same, of an agent that Kubernetes does not call ready: so are those of nodes that it does not hear any more."""
_KINDS = ("c", "initC", "ephemeralC")
"""Of containers, as a pod's specification and status spell them."""
_AGENTS = "app.kubernetes.io/name=intact,app.kubernetes.io/component=agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """`target` is `NAMESPACE/POD` or `NAMESPACE/POD/CONTAINER`, of a pod that exists."""

    target: str
    uid: str
    node: str
    idle: tuple[tuple[Container, str], ...] = ()
    """Of a pod that is named as a whole, the containers that should run and do not, with what the kubelet says of each."""


def find_pod(wanted: str) -> Pod:
    """`[NAMESPACE/]POD[/CONTAINER]` in the cluster of the kubeconfig. Raises InputError where there is none, or none of it runs."""
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
        where = f" in namespace {namespace}" if "/" not in wanted else ""
        raise InputError(f"there is no pod {display_path(wanted.encode(), 300)}{where}", code="NoPod", hint="NAMESPACE/POD, or POD with -n")
    node = str((found.get("spec") or {}).get("nodeName") or "")
    if not node:
        raise InputError(f"the pod {namespace}/{name} is on no node yet", code="NoNode", hint="kubectl describe pod says why")
    _check_running(found, f"{namespace}/{name}", container[0] if container else "")
    uid = str(found["metadata"]["uid"])
    of = PodOf(namespace=namespace, name=name, uid=uid)
    idle = () if container else tuple(_list_idle(found, of, node))
    return Pod(target="/".join((namespace, name, *container)), uid=uid, node=node, idle=idle)


def _check_running(pod: Mapping[str, Any], named: str, container: str) -> None:
    """Raises InputError, with what each container of `pod` does, unless `container` runs; without one, unless any does."""
    states = _read_states(pod)
    listed = ", ".join(f"{one} ({state})" for one, state in states.items()) or "none"
    if container == SANDBOX_NAME or (states.get(container) == "running" if container else "running" in states.values()):
        return
    if container:
        missing = f"no container {display_path(container.encode(), 300)} runs in the pod {named}"
        raise InputError(missing, code="NoContainer", hint=f"its containers: {listed}")
    namespace = named.partition("/")[0]
    hint = f"its containers: {listed}; what was found in it before: intact incident list -n {namespace}"
    raise InputError(f"nothing runs in the pod {named}", code="NotRunning", hint=hint)


def _list_idle(pod: Mapping[str, Any], of: PodOf, node: str) -> Iterator[tuple[Container, str]]:
    states = _read_states(pod)
    spec = pod.get("spec") or {}
    lasting = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for one in [*(spec.get("containers") or ()), *lasting]:
        name, image = str(one["name"]), str(one.get("image", ""))
        if states[name] != "running":
            yield Container(id="", name=name, image=image, image_key=None, node=node, pod=of), states[name]


def _read_states(pod: Mapping[str, Any]) -> dict[str, str]:
    """Container → `running`, `waiting` or `terminated`, as the kubelet said last; those of which it said nothing are `waiting`."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    said = {
        str(one["name"]): next(iter(one.get("state") or {}), "waiting")
        for kind in _KINDS
        for one in status.get(f"{kind}ontainerStatuses") or ()
    }
    names = [str(one["name"]) for kind in _KINDS for one in spec.get(f"{kind}ontainers") or ()]
    return {name: said.get(name, "waiting") for name in names}


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
        raise InputError(
            f"no agent runs on {pod.node}, of Intact in namespace {namespace}: what its pods hold cannot be seen",
            code="NoAgent",
            hint="intact status; --intact-namespace NS, if Intact is installed in another one",
        )
    conditions = (running[0].get("status") or {}).get("conditions") or ()
    is_ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    doubt = "" if is_ready else f", which is not ready: for {UNREADY_S:.0f} s at most"
    click.echo(f"asking the agent on {pod.node}{doubt}", err=True)
    said = bytearray()
    name, patience_s = f"pod/{running[0]['metadata']['name']}", PATIENCE_S if is_ready else UNREADY_S
    for chunk in call_in_pod(name, "agent", arguments, namespace=namespace, patience_s=patience_s):
        said += chunk
        if len(said) > MOST_BYTES:
            raise InputError(f"the agent on {pod.node} says more than {MOST_BYTES >> 20} MiB", code="TooMuch", hint="name one container")
    return bytes(said)
