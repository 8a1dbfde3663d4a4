"""Where `intact status` and `intact incident` read from: the cluster of the kubeconfig, with the caller's own rights, or the store of
`intact watch`.

Out: rows, the same from both, with text as it was stored; whoever prints them for a terminal uses `clean`. Never writes.

    node       node heard_at tier intact expected drifted unobserved pending events_lost unlisted containers
    container  container namespace pod node verdict grade verified_at layers_verified_at layers_unverified_bytes (None: not known) reason
    policy     policy namespace mode accepted problem pods
    incident   incident namespace workload state cause level explanation policy action first_seen last_seen count pods pod_count nodes
               node_count paths omitted_paths grade baselines (key root grade) matters (about level text since nodes) matter_count
    action     remediation action phase message revision reason decided_at updated_at
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import click

from intact.model.entry import display_path
from intact.model.errors import InputError

Row: TypeAlias = dict[str, Any]

DEFAULT_STATE = Path("/var/lib/intact-watch")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
LEVELS = ("Info", "Low", "Medium", "High", "Critical")


class Source(Protocol):
    """`namespace` is empty for all. Every method raises IntactError where it cannot be read."""

    name: str
    """What is read, for people."""
    namespace: str
    """The caller's own namespace, empty where there is none."""
    patience_s: float
    """A node that was heard longer ago is silent."""

    def nodes(self) -> list[Row]: ...

    def policies(self, namespace: str) -> list[Row]: ...

    def incidents(self, namespace: str) -> list[Row]:
        """The last seen first; without actions."""

    def incident(self, name: str, namespace: str) -> Row | None: ...

    def baseline(self, key: str) -> Row | None:
        """What is known of an image's baseline: grade, source, signers, aliases. None where nothing is known or may be seen."""

    def actions(self, name: str, namespace: str) -> list[Row]:
        """What was decided about the incident, in order."""


state_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--state",
    "--state-dir",
    "state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=f"Read the state directory of `intact watch` instead of a cluster (without a kubeconfig: {DEFAULT_STATE}, if there is one).",
)


@contextmanager
def open_source(state: Path | None) -> Iterator[Source]:
    """The store in `state`, else the cluster of the kubeconfig, else the store in the default place. Says on stderr which.

    Raises InputError where there is neither."""
    if state is None and not has_kubernetes():
        if not DEFAULT_STATE.is_dir():
            raise InputError(
                f"there is no cluster and no `intact watch` to ask: no KUBECONFIG, no {DEFAULT_STATE}",
                hint="set KUBECONFIG, or --state DIR",
            )
        state = DEFAULT_STATE
    if state is not None:
        from .source_local import LocalSource

        local = LocalSource(state)
        click.echo(f"reading {local.name}", err=True)
        try:
            yield local
        finally:
            local.close()
        return
    try:
        from intact.adapters.cluster.api import Api
    except ModuleNotFoundError as error:
        raise InputError(f"reading a cluster needs the Python package {error.name}", hint="pip install 'intact[cli]'") from None
    from .source_cluster import ClusterSource

    api = Api()
    click.echo("reading the cluster of your kubeconfig", err=True)
    try:
        yield ClusterSource(api)
    finally:
        api.close()


def has_kubernetes() -> bool:
    """Whether there is a cluster to ask, as far as files and the environment tell."""
    return bool(os.environ.get("KUBECONFIG")) or Path("~/.kube/config").expanduser().exists() or SERVICE_ACCOUNT.exists()


def clean(text: object, limit: int = 200) -> str:
    """Stored text for a terminal: one line, without control characters, of bounded length."""
    return display_path(str(text).encode("utf-8", "backslashreplace"), limit)


def parse_instant(text: object) -> float:
    """RFC 3339 → Unix seconds; 0 for what is none."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0


def describe_age(at: float, now: float) -> str:
    """`12s`, `4m`, `3h`, `2d` ago; `never` for 0."""
    if not at:
        return "never"
    seconds = max(0, round(now - at))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def count_of(number: int, noun: str) -> str:
    """`1 container`, `2 containers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def level_rank(level: object) -> int:
    """From Info up; -1 for a level this program does not know."""
    return LEVELS.index(str(level)) if level in LEVELS else -1
