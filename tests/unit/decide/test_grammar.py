"""A policy is read whole or refused with the place and what is allowed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from intact.compare.rules import RULES
from intact.decide.grammar import parse_policy
from intact.model.errors import InputError
from intact.model.finding import Change, Level
from intact.model.layer import Grade
from intact.model.policy import ActionKind, Cause, Corroboration, Guard, Mode, Policy, Requirement, RollbackTo, Watch

FULL = """
apiVersion: intact.dev/v1alpha1
kind: IntegrityPolicy
metadata: {name: web, namespace: shop, generation: 3, labels: {team: a}}
spec:
  selector:
    matchLabels: {app: web}
    matchExpressions: [{key: tier, operator: NotIn, values: [test]}, {key: canary, operator: DoesNotExist}]
  mode: Enforce
  watch: {realtime: false, interval: 1h30m, volumes: true}
  baseline:
    require: Verified
    signedBy:
      - name: ci
        key: |
          -----BEGIN PUBLIC KEY-----
          MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjFiZRLk82n4FO2T+Ztod8N/e683E
          mujQuIJThikt6MZ/JDpzFEgrO2zL97GDjlJCHQi/Ge2f17Xa6njtnpQL6Q==
          -----END PUBLIC KEY-----
  expect:
    - {paths: ["/var/log/**"], grows: true, reason: append-only logs}
    - {paths: ["/srv/cache/**"], changes: [Added, Modified], until: 2027-01-01}
    - {paths: ["*.tmp"], until: "2027-01-01T12:00:00Z"}
  levels: [{paths: ["/usr/share/nginx/html/**"], level: Critical}]
  respond:
    - {when: {cause: Container, level: High}, do: [Alert, RestartPod]}
    - {when: {cause: [Container, Revision], level: High, count: 3, within: 10m}, do: [RollBack]}
    - {when: {}, do: [Alert]}
  guard: {maxActions: 5, per: 7d, cooldown: 90s, minReady: 2, corroboration: Reporter, rollback: {to: Previous, soak: 1h}}
status: {}
"""


def parse(spec: str, kind: str = "IntegrityPolicy") -> Policy:
    text = f"metadata: {{name: p, namespace: n}}\nspec:\n{spec}"
    return parse_policy(yaml.safe_load(text), kind)


def test_every_field_of_the_grammar_is_read() -> None:
    policy = parse_policy(yaml.safe_load(FULL), "IntegrityPolicy")
    assert (str(policy), policy.generation, policy.mode, policy.require) == ("shop/web", 3, Mode.ENFORCE, Grade.VERIFIED)
    assert policy.match_labels == (("app", "web"),)
    assert policy.match_expressions == (
        Requirement(key="tier", operator="NotIn", values=("test",)),
        Requirement(key="canary", operator="DoesNotExist"),
    )
    (signatory,) = policy.signed_by
    assert signatory.name == "ci" and signatory.key.startswith("-----BEGIN PUBLIC KEY-----\nMFkw")
    assert policy.watch == Watch(realtime=False, interval_s=5400.0, volumes=True)
    assert [(e.grows, e.changes, e.until) for e in policy.expect] == [
        (True, (), None),
        (False, (Change.ADDED, Change.MODIFIED), 1798761600.0),
        (False, (), 1798804800.0),
    ]
    assert policy.levels[0].level is Level.CRITICAL
    assert policy.respond is not None
    first, second, third = policy.respond
    assert (first.when.causes, first.when.level, first.do) == ((Cause.CONTAINER,), Level.HIGH, (ActionKind.ALERT, ActionKind.RESTART_POD))
    assert (second.when.causes, second.when.count, second.when.within_s) == ((Cause.CONTAINER, Cause.REVISION), 3, 600.0)
    assert (third.when.causes, third.when.level) == ((), Level.INFO)
    assert policy.guard == Guard(
        max_actions=5, per_s=604800.0, cooldown_s=90.0, min_ready=2, corroboration=Corroboration.REPORTER,
        rollback_to=RollbackTo.PREVIOUS, soak_s=3600.0,
    )  # fmt: skip


def test_levels_are_no_longer_than_every_node_can_have_them() -> None:
    paths = [f"/{number:02}/" + "x" * 507 for number in range(32)]
    spec = "  levels: [{paths: %s, level: High}]"
    assert len(parse(spec % paths[:31]).levels[0].paths) == 31
    with pytest.raises(InputError, match="too much text in paths"):
        parse(spec % [*paths, "/" + "x" * 100])


def test_an_empty_policy_observes_everything_in_its_namespace() -> None:
    policy = parse_policy({"metadata": {"name": "all", "namespace": "shop"}}, "IntegrityPolicy")
    assert policy == Policy(name="all", namespace="shop")
    assert policy.selects("shop", {"any": "thing"})
    assert not policy.selects("other", {})


def test_a_cluster_policy_has_no_namespace() -> None:
    assert parse_policy({"metadata": {"name": "all"}}, "ClusterIntegrityPolicy").namespace == ""


def test_the_plain_wish_reads_as_it_is_written() -> None:
    policy = parse("  respond: [{when: {level: Medium}, do: [RollBack]}]\n  guard: {corroboration: Reporter}")
    assert policy.respond is not None
    assert policy.respond[0].do == (ActionKind.ROLL_BACK,)


@pytest.mark.parametrize(
    "identity",
    [
        "release@acme.example",
        "https://kubernetes.io/namespaces/ci/serviceaccounts/builder",
        "spiffe://acme.example/ci",
        "https://github.com/acme/shop/.github/workflows/release.yml@refs/heads/main",
        "https://github.com/acme/shop/.github/workflows/release.yml@refs/tags/*",
        "https://gitlab.com/acme/shop//.gitlab-ci.yml@refs/tags/v*",
    ],
)
def test_an_identity_is_spelled_out_and_only_a_workflows_branch_or_tag_may_be_open(identity: str) -> None:
    (one,) = parse(f"  baseline: {{signedBy: [{{identity: '{identity}', issuer: 'https://i.example', name: ci}}]}}").signed_by
    assert (one.key, one.identity, one.issuer, one.name) == ("", identity, "https://i.example", "ci")


@pytest.mark.parametrize(
    "identity",
    [
        "",
        "*",
        "*@acme.example",
        "acme",
        "https://github.com/*",
        "https://github.com/acme/*",
        "https://github.com/acme/shop/.github/workflows/*@refs/tags/v1",
        "https://github.com/acme/shop/.github/workflows/release.yml@*",
        "https://github.com/acme/shop/.github/workflows/release.yml@refs/*",
        "https://github.com/acme/shop/.github/workflows/release.yml@refs/pull/*",
        "https://github.com/*/shop.yml@refs/tags/*",
        "https://github.com/acme/shop.yml@refs/tags/**",
        "http://github.com/acme/shop.yml@refs/tags/*",
        "https://github.com/acme /shop",
        "https://github.com/" + "a" * 600,
    ],
)
def test_an_identity_that_leaves_open_whose_it_is_is_refused(identity: str) -> None:
    with pytest.raises(InputError, match=r"signedBy\[0\].identity: not an identity"):
        parse(f"  baseline: {{signedBy: [{{identity: '{identity}', issuer: 'https://i.example'}}]}}")


@pytest.mark.parametrize(
    ("spec", "place", "allowed"),
    [
        ("  mood: Enforce", "spec.mood: unknown field", "selector, mode, watch"),
        ("  mode: enforce", "spec.mode: 'enforce' is not known", "Observe, Enforce, Off"),
        ("  mode: Off", "spec.mode: False: YAML reads", "Observe, Enforce, Off"),
        ("  watch: {files: true}", "spec.watch.files: unknown field", "realtime, interval, volumes"),
        ("  watch: {interval: 60}", "spec.watch.interval: 60 is not a duration", '"10m"'),
        ("  watch: {interval: 10m1h}", "spec.watch.interval", '"1h30m"'),
        ("  watch: {realtime: yes please}", "spec.watch.realtime", "true, false"),
        ("  baseline: {require: Trusted}", "spec.baseline.require", "FirstSeen, Supplied, NodeReported, Corroborated, Verified, Signed"),
        ("  baseline: {signedBy: []}", "spec.baseline.signedBy: names no key", "ECDSA P-256 or Ed25519"),
        ("  baseline: {signedBy: [{name: ci}]}", "spec.baseline.signedBy[0].key: expected a text", ""),
        ("  baseline: {signedBy: [{key: ci}]}", "spec.baseline.signedBy[0].key: not a key that can be checked", "cosign.pub"),
        ("  baseline: {signedBy: [{keyless: x}]}", "spec.baseline.signedBy[0].keyless: unknown field", "key, identity, issuer, name"),
        ("  baseline: {signedBy: [{identity: a@b.example}]}", "spec.baseline.signedBy[0].issuer: expected a text", ""),
        ("  baseline: {signedBy: [{issuer: 'https://i.example'}]}", "spec.baseline.signedBy[0].identity: expected a text", ""),
        (
            "  baseline: {signedBy: [{key: k, identity: a@b.example, issuer: 'https://i'}]}",
            "spec.baseline.signedBy[0].key: a key and an identity",
            "each",
        ),
        ("  baseline: {signedBy: [{identity: a@b.example, issuer: i.example}]}", "spec.baseline.signedBy[0].issuer: not an issuer", "URL"),
        ("  respond: [{when: {cause: ImageTrust}, do: [RestartPod]}]", "spec.respond[0].do: a fresh pod", "Alert, RollBack"),
        ("  selector: {matchLabels: {a: 1}}", "spec.selector.matchLabels.a: expected a text", ""),
        ("  selector: {matchExpressions: [{key: a, operator: Near}]}", "spec.selector.matchExpressions[0].operator", "NotIn"),
        ("  selector: {matchExpressions: [{key: a, operator: In}]}", "spec.selector.matchExpressions[0].values: missing", ""),
        ("  expect: [{paths: []}]", "spec.expect[0].paths: missing", "gitignore"),
        ("  expect: [{paths: ['/a', '[']}]", "spec.expect[0].paths[1]: not a path pattern: '['", ""),
        ("  expect: [{paths: [/a], changes: [Unread]}]", "spec.expect[0].changes[0]", "Added, Deleted, Type, Modified, Metadata"),
        ("  expect: [{paths: [/a], until: soon}]", "spec.expect[0].until", "2027-01-01"),
        ("  levels: [{paths: [/a]}]", "spec.levels[0].level", "Critical"),
        ("  respond: {}", "spec.respond: expected a list", ""),
        ("  respond: [{when: {level: Hgh}, do: [Alert]}]", "spec.respond[0].when.level: 'Hgh' is not known", "Info, Low, Medium"),
        (
            "  respond: [{when: {cause: Nobody}, do: [Alert]}]",
            "spec.respond[0].when.cause",
            "Container, Revision, Node, ImageTrust, Unknown",
        ),
        ("  respond: [{when: {cause: [Node, Unknown]}, do: [RestartPod]}]", "spec.respond[0].do", "Alert"),
        ("  respond: [{when: {cause: Unknown}, do: [RollBack]}]", "spec.respond[0].do", "Alert"),
        ("  respond: [{when: {count: 3}, do: [Alert]}]", "spec.respond[0].when.within", "count: 3, within: 10m"),
        ("  respond: [{when: {}, do: []}]", "spec.respond[0].do: missing", "Alert, RestartPod, RollBack"),
        ("  respond: [{do: [Quarantine]}]", "spec.respond[0].do[0]", "Alert, RestartPod, RollBack"),
        ("  workload: Factory", "spec.workload", "Service, Build"),
        ("  guard: {maxActions: -1}", "spec.guard.maxActions", "0 to 50"),
        ("  guard: {maxActions: true}", "spec.guard.maxActions", "0 to 50"),
        ("  guard: {rollback: {to: First}}", "spec.guard.rollback.to", "LastKnownGood, Previous"),
        ("  guard: {approval: {}}", "spec.guard.approval: unknown field", "maxActions"),
    ],
)
def test_a_wrong_field_is_named_with_its_whole_path_and_what_is_allowed(spec: str, place: str, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(spec)
    assert f"IntegrityPolicy n/p: {place}" in str(caught.value)
    assert allowed in str(caught.value)
    assert caught.value.code == "InvalidPolicy"


@pytest.mark.parametrize(
    "obj",
    [
        {},
        [],
        {"metadata": {"name": "Upper"}},
        {"metadata": {"name": "a"}, "kind": "Pod"},
        {"metadata": {"name": "a"}, "apiVersion": "v1"},
        {"metadata": {"name": "a"}, "spec": []},
        {"metadata": {"name": "a"}, "spec": {1: 2}},
        {"metadata": {"name": "a"}, "spec": {"expect": [{"paths": ["/a"] * 64}] * 64}},
    ],
)
def test_what_is_no_policy_is_refused(obj: Any) -> None:
    with pytest.raises(InputError):
        parse_policy(obj, "IntegrityPolicy")


PAGE = Path(__file__).parents[3] / "docs" / "policy.md"


def test_the_policies_in_the_documentation_are_policies() -> None:
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    assert len(examples) >= 3
    for example in examples:
        parse_policy(example, example["kind"])


def test_the_documentation_has_every_default_rule_as_the_code_has_it() -> None:
    page = PAGE.read_text()
    for rule in RULES.values():
        levels = ", ".join(level.title for level in rule.levels) or "counted"
        assert f"| `{rule.id}` | {levels} | {rule.sentence} |" in page
