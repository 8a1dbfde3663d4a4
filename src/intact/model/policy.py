"""What people declare: which containers, what is expected, and what to do about the rest. Parsed by `decide.grammar`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from .finding import Change, Level
from .layer import Grade

GROUP = "intact.dev"
"""The API group of every custom resource."""
API_VERSION = f"{GROUP}/v1alpha1"


class Mode(StrEnum):
    OBSERVE = "Observe"
    ENFORCE = "Enforce"
    OFF = "Off"


class Purpose(StrEnum):
    """What a workload is there for, as far as that says which changes are its work."""

    SERVICE = "Service"
    BUILD = "Build"
    """It installs, compiles and runs what its image does not have."""


class Cause(StrEnum):
    """Why containers of a workload differ from their image."""

    CONTAINER = "Container"
    """Something happened inside this container."""
    REVISION = "Revision"
    """It comes with the revision: the same on several pods and nodes, or again on a clean replacement."""
    NODE = "Node"
    """The node's copy of the image is not the image, or the node says of an image what others do not."""
    IMAGE_TRUST = "ImageTrust"
    """The image itself is not trusted: a signature that is required is missing, does not verify, or its key was revoked."""
    UNKNOWN = "Unknown"
    """Something needed for the answer could not be observed."""


class ActionKind(IntEnum):
    """From the weakest to the strongest; of several rules that match, the strongest action wins."""

    ALERT = 0
    RESTART_POD = 1
    ROLL_BACK = 2

    @property
    def title(self) -> str:
        return "".join(part.title() for part in self.name.split("_"))


class Corroboration(StrEnum):
    """What must confirm a finding before a whole workload is acted on."""

    TWO_NODES = "TwoNodes"
    REPORTER = "Reporter"
    """The word of the reporting node alone: an explicit choice."""


class RollbackTo(StrEnum):
    LAST_KNOWN_GOOD = "LastKnownGood"
    PREVIOUS = "Previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement of a label selector (Kubernetes LabelSelector): `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    realtime: bool = True
    interval_s: float = 60.0
    volumes: bool = False
    """Whether programs that run from volumes are told, and not only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Differences that are fine: `paths` are gitignore patterns; empty `changes` means all. `grows`: only appending counts as fine, that is
    a modified file that is not smaller than the image's, and an added one. `until` in Unix seconds."""

    paths: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    grows: bool = False
    until: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLevel:
    paths: tuple[str, ...]
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a response applies: `level` means at least; `count` findings of it within `within_s`."""

    causes: tuple[Cause, ...] = ()
    level: Level = Level.INFO
    count: int = 1
    within_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    when: Condition
    do: tuple[ActionKind, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What keeps a cure from becoming the outage."""

    max_actions: int = 3
    per_s: float = 3600.0
    cooldown_s: float = 300.0
    min_ready: int = 1
    corroboration: Corroboration = Corroboration.TWO_NODES
    rollback_to: RollbackTo = RollbackTo.LAST_KNOWN_GOOD
    soak_s: float = 600.0
    """How long a revision must have been seen intact before it counts as known good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """Who an image may be signed by, and what people call that: a public key in PEM, or an identity and the issuer that vouches for it
    (OpenID Connect). An identity that ends in `*` is every one that begins so."""

    key: str = ""
    identity: str = ""
    issuer: str = ""
    name: str = ""

    @property
    def who(self) -> tuple[str, str, str]:
        """What counts of it: all but the name."""
        return self.key, self.identity, self.issuer

    def accepts(self, identity: str) -> bool:
        """Whether this is the identity that is meant."""
        if self.identity.endswith("*"):
            return identity.startswith(self.identity[:-1])
        return bool(self.identity) and identity == self.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy. `namespace` is empty for a cluster policy; an empty selector selects every pod in reach. `respond` None means: the
    default cure of each cause."""

    name: str
    namespace: str = ""
    generation: int = 0
    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[Requirement, ...] = ()
    mode: Mode = Mode.OBSERVE
    workload: Purpose = Purpose.SERVICE
    watch: Watch = field(default_factory=Watch)
    require: Grade = Grade.FIRST_SEEN
    signed_by: tuple[Signatory, ...] = ()
    """Every image must be signed by one of them; empty: by nobody."""
    expect: tuple[Expectation, ...] = ()
    levels: tuple[PathLevel, ...] = ()
    respond: tuple[Response, ...] | None = None
    guard: Guard = field(default_factory=Guard)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def selects(self, namespace: str, labels: dict[str, str]) -> bool:
        """Whether this policy governs a pod of `namespace` with `labels`."""
        if self.namespace and self.namespace != namespace:
            return False
        return all(labels.get(k) == v for k, v in self.match_labels) and all(r.matches(labels) for r in self.match_expressions)
