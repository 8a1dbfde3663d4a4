"""What the containers of one pod template do to their own files before they are ready: what a start profile remembers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .container import Container
from .incident import PodFacts, Workload


class Moment(StrEnum):
    """When a difference was made, as far as that can be told."""

    START = "Start"
    """Between the start of its container and the first moment at which its pod was ready."""
    UNCLEAR = "Unclear"
    """Before or after that: after a restart what Kubernetes tells lags behind, and what is moved with its directory keeps its own time."""
    LATER = "Later"
    """After that, or nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Whose start it is: one container of one pod template of one workload, run from one image (its config digest)."""

    workload: Workload
    name: str
    """The template's hash, as Kubernetes' controllers label pods with it."""
    container: str
    image: str

    def __str__(self) -> str:
        return f"{self.workload}, container {self.container}, template {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class StartEntry:
    """One difference that a container started with. `shape` is all of it but the content: what it is, mode, owner, attributes. `content`
    is a file's digest, `lines` that of the set of its lines; both are empty where there is none."""

    path: bytes
    shape: str
    content: str = ""
    lines: str = ""
    rule: str = ""
    may_vary: bool = False
    """Whether another content in each pod is nothing remarkable: neither a program nor what is started by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One pod that became ready, and what its container had started with; nothing is an answer too."""

    pod_uid: str
    pod: str
    node: str
    entries: tuple[StartEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartProfile:
    """What pods of one template were seen to start with: at most `decide.start.MAX_WITNESSES` of them."""

    template: Template
    witnesses: tuple[Witness, ...] = ()
    first_at: float = 0.0
    """When a difference at the start was first told."""
    established_at: float = 0.0
    """When a second pod had confirmed what the first one did, be it nothing; 0 until then."""


def find_template(container: Container, pod: PodFacts) -> Template | None:
    """Whose start the container's is; None where its pod was made by no template that makes others, or the image is not known."""
    if not pod.template or container.image_key is None:
        return None
    return Template(workload=pod.workload, name=pod.template, container=container.name, image=str(container.image_key))
