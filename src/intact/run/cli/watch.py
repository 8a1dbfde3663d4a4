"""`intact watch`: the whole flow in one process, on the containers of this host, without Kubernetes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import click
import yaml

from intact.adapters.registry.access import RegistryAccess
from intact.adapters.runtime.discover import find_socket
from intact.adapters.seam.inprocess import InProcessCluster
from intact.adapters.sinks.stdout import StdoutSink
from intact.decide.grammar import parse_policy
from intact.model.errors import InputError
from intact.model.finding import Verdict
from intact.model.observation import Scope
from intact.model.policy import Policy
from intact.notify.ports import Sink
from intact.run.cluster.baselines import ClusterBaselines
from intact.run.cluster.delivery import start_delivery
from intact.run.cluster.flow import ClusterFlow
from intact.run.cluster.sinks import open_sinks
from intact.run.cluster.standalone import Host
from intact.run.descriptors import raise_descriptor_limit
from intact.run.logs import configure_logs
from intact.run.node.baselines import NodeBaselines
from intact.run.node.eyes import HostEyes
from intact.run.node.process import NodeProcess
from intact.run.signals import stop_on_signals
from intact.run.storage.keeping import open_own_key, open_store
from intact.run.storage.memory import make_router, open_state

from .output import describe_finding, describe_verdict

MAX_REMEMBERED = 20_000
"""Containers whose printed findings are remembered; beyond that, some are printed once more."""
DEFAULT_STATE = "/var/lib/intact-watch"


@click.command(short_help="Watches this host's containers, without Kubernetes.")
@click.option("--socket", metavar="SOCKET", help="containerd's socket; found by itself where it is in a usual place.")
@click.option(
    "--state",
    "--state-dir",
    "state",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE,
    show_default=True,
    help="Where baselines and the record are kept.",
)
@click.option(
    "--policy", "policies", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="A policy in YAML; may be repeated."
)
@click.option("--syslog", default="", metavar="tcp://HOST:PORT", help="Send alerts to a syslog server (RFC 5424).")
@click.option("--webhook", default="", metavar="URL", help="Send alerts as CloudEvents.")
@click.option(
    "--layer-rate",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="MIB",
    help="Read image layers at most this fast, in MiB/s.",
)
@click.option(
    "--tier",
    type=click.Choice(["A", "B", "C"]),
    default="A",
    show_default=True,
    help="Hear of changes in no better way than this, whatever the kernel can do: C is timed looks only.",
)
@click.option(
    "--output",
    type=click.Choice(["table", "jsonl"]),
    default="table",
    show_default=True,
    help="Alerts for people, or every verdict and finding as JSON lines.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def command(
    socket: str | None,
    state: Path,
    policies: tuple[Path, ...],
    syslog: str,
    webhook: str,
    layer_rate: int,
    tier: str,
    output: str,
    verbose: bool,
) -> None:
    """Watches this host's containers until it is stopped: baselines, changes, alerts and the record, all in one process."""
    configure_logs(verbose=verbose)
    raise_descriptor_limit()
    if os.geteuid() != 0:
        raise InputError("`intact watch` must run as root", hint="it reads other users' containers and listens to file systems")
    node = os.uname().nodename
    address = find_socket(socket)
    world = Host(node, tuple(read_policy(path) for path in policies))
    stop = stop_on_signals()
    kept = open_state(state)
    sinks: list[Sink] = [] if output == "jsonl" else [StdoutSink(sys.stdout)]
    sinks += open_sinks(syslog=syslog, webhook=webhook, hostname=node)
    router = make_router(kept, sinks)
    signer = open_own_key(state / "baselines" / "own")
    store = open_store(state / "baselines", signer)
    eyes = HostEyes(layer_rate_bytes_s=layer_rate << 20)
    cluster = ClusterFlow(
        world=world,
        memory=kept.memory,
        audit=kept.audit,
        router=router,
        library=ClusterBaselines(store, signer, access=RegistryAccess()),
        on_verdict=_Printer() if output == "jsonl" else lambda verdict: None,
    )
    seam = InProcessCluster(cluster, node, clock=time.time)
    process = NodeProcess(
        node=node,
        socket=address,
        state_dir=state / "node",
        eyes=eyes,
        baselines=NodeBaselines(store, socket=address, read_layer=eyes.read_layer),
        send=seam.submit,
        best_tier=tier,
    )
    flow = threading.Thread(target=cluster.run, args=(stop,), name="cluster")
    flow.start()
    senders = start_delivery(router, stop)
    try:
        process.run(stop, seam)
    finally:
        stop.set()
        flow.join()
        for sender in senders:
            sender.join(timeout=5)


class _PolicyLoader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_policy(path: Path) -> Policy:
    """A policy from a YAML file. Raises InputError naming file and field."""
    try:
        document = yaml.load(path.read_text(), Loader=_PolicyLoader)  # a SafeLoader
    except OSError as error:
        raise InputError(f"the policy {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a policy: expected one YAML mapping")
    try:
        return parse_policy(document, str(document.get("kind", "")))
    except InputError as error:
        raise InputError(f"{path}: {error}", code=error.code) from None


class _Printer:
    """Verdicts as JSON lines, each finding once as long as it stands: what was printed of a container before is not printed again."""

    def __init__(self) -> None:
        self._printed: dict[tuple[str, Scope], frozenset[str]] = {}

    def __call__(self, verdict: Verdict) -> None:
        key = (verdict.container.id, verdict.scope)
        findings = {finding.id: finding for finding in verdict.findings}
        before = self._printed.get(key, frozenset())
        if len(self._printed) >= MAX_REMEMBERED:
            self._printed.clear()
        self._printed[key] = frozenset(findings)
        lines = [describe_finding(finding) for id, finding in findings.items() if id not in before]
        sys.stdout.write("".join(json.dumps(line) + "\n" for line in [*lines, describe_verdict(verdict)]))
        sys.stdout.flush()
