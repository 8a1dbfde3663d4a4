"""The policy grammar: a declared object becomes a `Policy`, or an error that says where and what is allowed.

In comes the object as Kubernetes or a YAML file gives it, out comes a record with every default filled in. Nothing unknown is ignored, and
nothing is accepted that would do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from intact.model.errors import InputError
from intact.model.finding import Change, Level
from intact.model.layer import Grade
from intact.model.patterns import MAX_PATTERNS, Patterns
from intact.model.policy import (
    API_VERSION,
    ActionKind,
    Cause,
    Condition,
    Corroboration,
    Expectation,
    Guard,
    Mode,
    PathLevel,
    Policy,
    Purpose,
    Requirement,
    Response,
    RollbackTo,
    Watch,
)

from .fields import Field
from .guard import INCURABLE
from .signatory import read_signatories

NAMESPACED = "IntegrityPolicy"
CLUSTER = "ClusterIntegrityPolicy"
MAX_ITEMS = 64
MAX_LEVEL_BYTES = 16 << 10
"""Of all paths in `levels`."""

CHANGES = {c.value: c for c in Change if c is not Change.UNREAD}
LEVELS = {level.title: level for level in Level}
GRADES = {grade.title: grade for grade in Grade}
MODES = {mode.value: mode for mode in Mode}
PURPOSES = {purpose.value: purpose for purpose in Purpose}
CAUSES = {cause.value: cause for cause in Cause}
ACTIONS = {action.title: action for action in ActionKind}
CORROBORATIONS = {c.value: c for c in Corroboration}
ROLLBACKS = {to.value: to for to in RollbackTo}
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")


def parse_policy(obj: Mapping[str, object], kind: str) -> Policy:
    """`obj` as an `IntegrityPolicy` or `ClusterIntegrityPolicy` (`kind`).

    Raises InputError (code `InvalidPolicy`) that names the field by its full path and what is allowed there.
    """
    if kind not in (NAMESPACED, CLUSTER):
        raise InputError(f"{kind!r} is not a kind of policy", hint=f"expected {NAMESPACED} or {CLUSTER}")
    if not isinstance(obj, Mapping):
        raise InputError(f"{kind}: expected an object, not {type(obj).__name__}", code="InvalidPolicy")
    metadata = Field(obj.get("metadata"), "metadata", kind)
    about = metadata.entries()
    name = _read_name(metadata.child("name", about.get("name")))
    namespace = ""
    if kind == NAMESPACED:
        namespace = _read_name(metadata.child("namespace", about.get("namespace") or "default"))
    owner = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    top = Field(obj, "", owner).mapping("apiVersion", "kind", "metadata", "spec", "status")
    if top["apiVersion"].value not in (None, API_VERSION):
        top["apiVersion"].fail(f"{top['apiVersion'].value!r} is not known", API_VERSION)
    if top["kind"].value not in (None, kind):
        top["kind"].fail(f"{top['kind'].value!r} is not the kind asked for", kind)
    generation = about.get("generation")
    spec = top["spec"].mapping("selector", "mode", "watch", "workload", "baseline", "expect", "levels", "respond", "guard")
    baseline = spec["baseline"].mapping("require", "signedBy")
    labels, expressions = _read_selector(spec["selector"])
    policy = Policy(
        name=name,
        namespace=namespace,
        generation=generation if isinstance(generation, int) else 0,
        match_labels=labels,
        match_expressions=expressions,
        mode=spec["mode"].one_of(MODES, Mode.OBSERVE),
        workload=spec["workload"].one_of(PURPOSES, Purpose.SERVICE),
        watch=_read_watch(spec["watch"]),
        require=baseline["require"].one_of(GRADES, Grade.FIRST_SEEN),
        signed_by=read_signatories(baseline["signedBy"]),
        expect=tuple(_read_expectation(field) for field in spec["expect"].items(MAX_ITEMS)),
        levels=tuple(_read_level(field) for field in spec["levels"].items(MAX_ITEMS)),
        respond=tuple(_read_response(field) for field in spec["respond"].items(MAX_ITEMS)) if spec["respond"].is_given else None,
        guard=_read_guard(spec["guard"]),
    )
    if sum(len(one.paths) for one in policy.expect) + sum(len(one.paths) for one in policy.levels) > MAX_PATTERNS:
        top["spec"].fail("too many patterns in expect and levels", f"at most {MAX_PATTERNS}")
    if sum(len(path.encode()) for one in policy.levels for path in one.paths) > MAX_LEVEL_BYTES:
        spec["levels"].fail("too much text in paths", f"at most {MAX_LEVEL_BYTES} bytes, since every node has them for every pod")
    return policy


def _read_name(field: Field) -> str:
    name = field.text()
    if not _NAME.fullmatch(name):
        field.fail(f"{name[:60]!r} is not a name of a Kubernetes object", "lower-case letters, digits, - and .")
    return name


def _read_selector(field: Field) -> tuple[tuple[tuple[str, str], ...], tuple[Requirement, ...]]:
    parts = field.mapping("matchLabels", "matchExpressions")
    labels = parts["matchLabels"].entries()
    if len(labels) > MAX_ITEMS:
        parts["matchLabels"].fail(f"{len(labels)} labels", f"at most {MAX_ITEMS}")
    pairs = tuple(sorted((key, parts["matchLabels"].child(key, value).text()) for key, value in labels.items()))
    return pairs, tuple(_read_requirement(one) for one in parts["matchExpressions"].items(MAX_ITEMS))


def _read_requirement(field: Field) -> Requirement:
    """A LabelSelectorRequirement of Kubernetes: In and NotIn take values, Exists and DoesNotExist take none."""
    parts = field.mapping("key", "operator", "values")
    operator = parts["operator"].text()
    if operator not in OPERATORS:
        parts["operator"].fail(f"{operator!r} is not known", ", ".join(OPERATORS))
    values = tuple(value.text() for value in parts["values"].items(MAX_ITEMS))
    if bool(values) is not (operator in ("In", "NotIn")):
        parts["values"].fail("missing" if not values else f"{operator} takes none", "values for In and NotIn only")
    key = parts["key"].text()
    if not key:
        parts["key"].fail("empty")
    return Requirement(key=key, operator=operator, values=values)


def _read_watch(field: Field) -> Watch:
    parts = field.mapping("realtime", "interval", "volumes")
    return Watch(
        realtime=parts["realtime"].claim(True),
        interval_s=parts["interval"].duration(60.0, least=1.0),
        volumes=parts["volumes"].claim(False),
    )


def _read_paths(field: Field) -> tuple[str, ...]:
    texts = tuple(one.text() for one in field.items(MAX_PATTERNS))
    if not texts:
        field.fail("missing", "gitignore patterns, such as /var/log/**")
    for index, text in enumerate(texts):
        try:
            Patterns([text])
        except InputError as error:
            Field(text, f"{field.place}[{index}]", field.owner).fail(str(error))
    return texts


def _read_expectation(field: Field) -> Expectation:
    parts = field.mapping("paths", "changes", "grows", "until", "reason")
    return Expectation(
        paths=_read_paths(parts["paths"]),
        changes=tuple(one.one_of(CHANGES) for one in parts["changes"].items(len(CHANGES))),
        grows=parts["grows"].claim(False),
        until=parts["until"].moment(),
        reason=parts["reason"].text(""),
    )


def _read_level(field: Field) -> PathLevel:
    parts = field.mapping("paths", "level")
    return PathLevel(paths=_read_paths(parts["paths"]), level=parts["level"].one_of(LEVELS))


def _read_response(field: Field) -> Response:
    parts = field.mapping("when", "do")
    when = _read_condition(parts["when"])
    actions = tuple(dict.fromkeys(one.one_of(ACTIONS) for one in parts["do"].items(len(ACTIONS))))
    if not actions:
        parts["do"].fail("missing", ", ".join(ACTIONS))
    if when.causes and set(when.causes) <= set(INCURABLE) and max(actions) > ActionKind.ALERT:
        parts["do"].fail(f"a cause that is {when.causes[0].value} is never acted upon", ActionKind.ALERT.title)
    if when.causes == (Cause.IMAGE_TRUST,) and ActionKind.RESTART_POD in actions:
        parts["do"].fail("a fresh pod would run the same image", f"{ActionKind.ALERT.title}, {ActionKind.ROLL_BACK.title}")
    return Response(when=when, do=actions)


def _read_condition(field: Field) -> Condition:
    parts = field.mapping("cause", "level", "count", "within")
    cause = parts["cause"]
    if isinstance(cause.value, list | tuple):
        causes = tuple(dict.fromkeys(one.one_of(CAUSES) for one in cause.items(len(CAUSES))))
    else:
        causes = (cause.one_of(CAUSES),) if cause.is_given else ()
    count = parts["count"].number(1, 1, 1000)
    if (count > 1) is not parts["within"].is_given:
        parts["within"].fail("count above 1 and within belong together", "count: 3, within: 10m")
    return Condition(
        causes=causes, level=parts["level"].one_of(LEVELS, Level.INFO), count=count, within_s=parts["within"].duration(0.0, least=1.0)
    )


def _read_guard(field: Field) -> Guard:
    parts = field.mapping("maxActions", "per", "cooldown", "minReady", "corroboration", "rollback")
    rollback = parts["rollback"].mapping("to", "soak")
    default = Guard()
    return Guard(
        max_actions=parts["maxActions"].number(default.max_actions, 0, 50),
        per_s=parts["per"].duration(default.per_s, least=1.0),
        cooldown_s=parts["cooldown"].duration(default.cooldown_s),
        min_ready=parts["minReady"].number(default.min_ready, 0, 100_000),
        corroboration=parts["corroboration"].one_of(CORROBORATIONS, default.corroboration),
        rollback_to=rollback["to"].one_of(ROLLBACKS, default.rollback_to),
        soak_s=rollback["soak"].duration(default.soak_s),
    )
