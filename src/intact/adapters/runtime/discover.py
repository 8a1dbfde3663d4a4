"""Finds the runtime's socket, and a container by what people call it.

In: what the user named, the environment, the host's directories. Out: a socket's path, a `Running` record; InputError that says what was
tried. Never connects to anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from intact.model.container import Running
from intact.model.errors import InputError

from .identity import SANDBOX_NAME, printable

ADDRESS_VARIABLE: Final = "CONTAINERD_ADDRESS"
USUAL_SOCKETS: Final = (
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/docker/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/k0s/containerd.sock",
)
MAX_NAMED: Final = 10


def find_socket(named: str | None = None, *, environment: Mapping[str, str] = os.environ, host: str = "/") -> str:
    """The path of containerd's socket: `named`, else `CONTAINERD_ADDRESS`, else the first usual path below `host` that is a socket.

    What is named is taken as it is (without `unix://`); raises InputError where it is no socket, or where there is none at all.
    """
    for origin, address in (("named", named), (ADDRESS_VARIABLE, environment.get(ADDRESS_VARIABLE))):
        if address:
            path = address.removeprefix("unix://")
            problem = _problem(path)
            if problem:
                raise InputError(f"{printable(path, 200)} ({origin}) {problem}", code="NoRuntime", hint="name the socket of containerd")
            return path
    tried = []
    for usual in USUAL_SOCKETS:
        path = str(Path(host) / usual.lstrip("/"))
        problem = _problem(path)
        if not problem:
            return path
        tried.append(f"{path} {problem}")
    raise InputError(
        f"no container runtime found: {'; '.join(tried)}",
        code="NoRuntime",
        hint=f"name the socket of containerd, or set {ADDRESS_VARIABLE}",
    )


def _problem(path: str) -> str:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be looked at ({error})"
    return "" if stat.S_ISSOCK(mode) else "is not a socket"


def find_container(running: Sequence[Running], wanted: str) -> Running:
    """The one container that `wanted` stands for. Tried in this order, the first that fits anything decides:

    1. its id; 2. `NAMESPACE/POD/CONTAINER`, `POD/CONTAINER`; 3. the name of a container, or `POD` or `NAMESPACE/POD` of a pod with one
    container beside its sandbox; 4. the beginning of an id.

    Raises InputError where nothing fits, or several do: then it names them.
    """
    if not wanted:
        raise InputError("no container named", hint="give an id, the beginning of one, or POD/CONTAINER")
    for fits in (_has_id, _has_path, _has_name, _has_prefix):
        found = [one for one in running if fits(one, wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"{printable(wanted)!r} fits {len(found)} containers: {_name_some(found)}", code="Ambiguous", hint="give more of it"
            )
    here = _name_some([one for one in running if one.container.name != SANDBOX_NAME])
    raise InputError(f"no container {printable(wanted)!r} runs here", code="NoContainer", hint=f"here run {here}" if here else "none does")


def _name_some(running: Sequence[Running]) -> str:
    more = f" and {len(running) - MAX_NAMED} more" if len(running) > MAX_NAMED else ""
    return ", ".join(describe(one) for one in running[:MAX_NAMED]) + more


def describe(one: Running) -> str:
    """One container in one word or two: `NAMESPACE/POD/CONTAINER (id)` or the id."""
    container = one.container
    if container.pod is None:
        return container.id
    return f"{container.pod.namespace}/{container.pod.name}/{container.name} ({container.id[:13]})"


def _has_id(one: Running, wanted: str) -> bool:
    return one.container.id == wanted


def _has_path(one: Running, wanted: str) -> bool:
    pod, name = one.container.pod, one.container.name
    return pod is not None and wanted in (f"{pod.namespace}/{pod.name}/{name}", f"{pod.name}/{name}")


def _has_name(one: Running, wanted: str) -> bool:
    container = one.container
    pod = container.pod
    in_pod = pod is not None and wanted in (pod.name, f"{pod.namespace}/{pod.name}") and container.name != SANDBOX_NAME
    unqualified = pod is None and container.id.rpartition("/")[2] == wanted
    return container.name == wanted or in_pod or unqualified


def _has_prefix(one: Running, wanted: str) -> bool:
    return one.container.id.startswith(wanted)
