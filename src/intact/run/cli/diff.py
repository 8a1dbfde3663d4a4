"""`intact diff`: what differs in a container now, with what the files say. On a node by itself, or through the cluster for any pod.

1. On this host: the container is found in the runtime, compared as `intact check` does, and shown from the files on this disk.
2. Through the cluster: the same command in the agent's pod of the pod's node, asked for by `kubectl exec` with the caller's own rights.
   What comes back is a record that is decoded strictly, of the pod that was asked for, and shown here: never text that goes to the terminal
   as it came, and no secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from intact.adapters.codec import decode, encode
from intact.adapters.runtime.discover import find_container, find_socket
from intact.adapters.runtime.identity import SANDBOX_NAME
from intact.model.container import Container, Running
from intact.model.digest import Digest
from intact.model.errors import EXIT_CLEAN, EXIT_FINDINGS, EXIT_UNOBSERVED, InputError, IntactError
from intact.model.layer import Baseline
from intact.model.observation import Unobserved
from intact.model.shown import Shown, ShownContainers
from intact.run.logs import configure_logs
from intact.run.node.showing import show
from intact.run.node.writers import FILE as WRITERS
from intact.run.node.writers import WriterMemory
from intact.run.storage.keeping import open_own_key, open_store
from intact.run.trust import PinnedTrust

from .diff_in_cluster import Pod, ask_agent, find_pod
from .diff_output import OUTPUTS, print_shown, tell_rest
from .in_cluster import NAMESPACE
from .looking import list_containers, look_at
from .source import DEFAULT_STATE, has_kubernetes


@click.command(short_help="Shows what the files that differ in a container say.")
@click.argument("target", metavar="CONTAINER|[NAMESPACE/]POD[/CONTAINER]")
@click.option("-n", "--namespace", default="", metavar="NS", help="The pod's namespace, if it is not named with the pod.")
@click.option("--cluster", "in_cluster", is_flag=True, help="Ask the cluster of your kubeconfig, even if this host runs containers.")
@click.option("--intact-namespace", default=NAMESPACE, show_default=True, metavar="NS", help="Where Intact is installed in the cluster.")
@click.option("--socket", metavar="SOCKET", help="containerd's socket; found by itself where it is in a usual place.")
@click.option(
    "--state",
    "--state-dir",
    "state",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: os.environ.get("INTACT_STATE_DIR") or DEFAULT_STATE,
    metavar="DIR",
    help=f"Where `intact watch` keeps its baselines and who did what; {DEFAULT_STATE} if not given.",
)
@click.option("--layers/--no-layers", default=True, show_default=True, help="Also read the image's read-only layers.")
@click.option("--all", "show_all", is_flag=True, help="Also what the default rules are silent about: data, logs, caches.")
@click.option("--show-secrets", is_flag=True, help="On this host only: hide nothing that looks like a secret.")
@click.option("--output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="How to print the result.")
@click.option("--record", "as_record", is_flag=True, hidden=True, help="Print the record that is shown elsewhere.")
def command(
    target: str, namespace: str, in_cluster: bool, intact_namespace: str, socket: str | None, state: Path, layers: bool, show_all: bool,
    show_secrets: bool, output: str, as_record: bool,
) -> int:  # fmt: skip
    """Shows what differs in a container now: lines of text, kinds of programs, sizes, hashes, owners, when, and who.

    \b
    intact diff NAME                        a container of this host
    intact diff NAMESPACE/POD               all containers of a pod: of this host if it
                                            runs containers, else of the cluster of
                                            your kubeconfig

    Exit codes: 0 clean, 1 differences, 3 no differences but not everything could be looked at.
    """
    configure_logs(verbose=False)
    wanted = f"{namespace}/{target}" if namespace and not target.startswith(f"{namespace}/") else target
    if in_cluster or not (socket or _has_runtime()):
        if show_secrets:
            raise click.UsageError("--show-secrets is for the node itself: nothing secret is sent through a cluster")
        pod = find_pod(wanted)
        shown = _from_agent(pod, intact_namespace, layers=layers, show_all=show_all)
    else:
        try:
            shown = _on_this_host(wanted, find_socket(socket), state, layers=layers, show_all=show_all, show_secrets=show_secrets)
        except IntactError:
            if "/" in wanted and has_kubernetes():
                click.echo("looked on this host; --cluster asks the cluster of your kubeconfig", err=True)
            raise
    if as_record:
        click.echo(encode(ShownContainers(containers=tuple(shown))))
        return EXIT_CLEAN
    print_shown(shown, output)
    tell_rest(shown)
    if any(one.level for container in shown for one in container.differences):
        return EXIT_FINDINGS
    return EXIT_UNOBSERVED if any(container.unobserved for container in shown) else EXIT_CLEAN


def _has_runtime() -> bool:
    try:
        find_socket()
    except InputError:
        return False
    return True


# -- 1: on this host -----------------------------------------------------------------------------------------------------


def _on_this_host(wanted: str, address: str, state: Path, *, layers: bool, show_all: bool, show_secrets: bool) -> list[Shown]:
    shown, failed = [], []
    find = _open_stored(state)
    writers = WriterMemory(state if (state / WRITERS).exists() else state / "node")
    listed = list_containers(address)
    for running in choose_containers(listed, wanted):
        try:
            looked = look_at(running, address, with_layers=layers, beside=listed, find_baseline=find)
            shown.append(
                show(
                    running,
                    looked.baseline,
                    looked.differences,
                    looked.verdicts,
                    rules=looked.rules,
                    with_silent=show_all,
                    show_secrets=show_secrets,
                    find_writer=writers.find,
                )
            )
        except IntactError as error:
            failed.append((running.container, error))
    if failed and not shown:
        raise failed[0][1]
    return [*shown, *(make_unseen(container, str(error)) for container, error in failed)]


def make_unseen(container: Container, reason: str) -> Shown:
    """A container of which nothing could be looked at: said beside the others, and never clean."""
    return Shown(container=container, baseline_root=None, grade=None, at=0.0, unobserved=(Unobserved(path=b"/", reason=reason),))


def choose_containers(running: Sequence[Running], wanted: str) -> list[Running]:
    """All containers of a pod that is named as one, its sandbox apart; else the one that `find_container` finds. Raises InputError."""
    of_pod = [
        one
        for one in running
        if one.container.pod is not None
        and wanted in (one.container.pod.name, f"{one.container.pod.namespace}/{one.container.pod.name}")
        and one.container.name != SANDBOX_NAME
    ]
    pods = {one.container.pod.uid for one in of_pod if one.container.pod is not None}
    return of_pod if len(pods) == 1 else [find_container(running, wanted)]


def _open_stored(state: Path) -> Callable[[Digest], Baseline | None]:
    """What an agent, or `intact watch`, keeps on this host: no image has to be read for it again."""
    directory = state / "baselines"
    if not (directory / "own.pem").exists() or not os.access(directory, os.W_OK):
        return lambda key: None
    trust_file = Path(os.environ.get("INTACT_TRUST_FILE") or "/var/run/intact/ca/trust.json")
    trust = PinnedTrust(trust_file, remembered=state / "trust.json")
    kept = open_store(directory, open_own_key(directory / "own"), trust.read) if trust_file.exists() else None
    store = kept or open_store(directory, open_own_key(directory / "own"))

    def find(key: Digest) -> Baseline | None:
        try:
            return store.get(str(key))
        except IntactError as error:
            click.echo(f"the stored baseline is not used: {error}", err=True)
            return None

    return find


# -- 2: through the cluster ----------------------------------------------------------------------------------------------


def _from_agent(pod: Pod, namespace: str, *, layers: bool, show_all: bool) -> list[Shown]:
    arguments = ["diff", pod.target, "--record", *([] if layers else ["--no-layers"]), *(["--all"] if show_all else [])]
    unverified_record = ask_agent(pod, arguments, namespace=namespace)
    record = decode(ShownContainers, unverified_record)
    for one in record.containers:
        if one.container.pod is None or one.container.pod.uid != pod.uid or one.has_secrets:
            raise InputError(f"the agent on {pod.node} speaks of another pod than {pod.target}", code="OtherPod", hint="ask again")
    return [*record.containers, *(make_unseen(container, f"it does not run: {state}") for container, state in pod.idle)]
