"""`intact diff` through a cluster: what a node sends is shown only if it is what was asked for, and harmless."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from intact.adapters.codec import encode
from intact.model.container import Container
from intact.model.container import Pod as PodOf
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError, PermanentError, TemporaryError
from intact.model.finding import Change
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.shown import Shown, ShownContainers, ShownDifference
from intact.run.cli import diff, diff_in_cluster
from intact.run.cli.diff_in_cluster import Pod
from intact.run.cli.in_cluster import call_in_pod

ASKED = Pod(target="shop/web", uid="u1", node="n1")
FOUND = ShownDifference(
    path=b"/etc/x\x1b[2J",
    change=Change.ADDED,
    expected=None,
    actual=Entry(path=b"/etc/x\x1b[2J", kind=Kind.FILE, mode=0o644, digest=Digest.of(b"")),
    scope=Scope.DRIFT,
    level="High",
    rule="control-file-added",
    now="\x1b[31mELF",
    process="\x1b]0;owned\x07",
    text=("@@ -0,0 +1,1 @@", "+evil\x1b[2J\u202e"),
)
SHOWN = Shown(
    container=Container(
        id="c", name="app", image="\x1b[2Jimage", image_key=None, node="n1", pod=PodOf(namespace="shop", name="web", uid="u1")
    ),
    baseline_root=Digest.of(b""),
    grade=Grade.VERIFIED,
    at=1.0,
    differences=(FOUND,),
)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., click.testing.Result]:
    def call(record: bytes, *options: str) -> click.testing.Result:
        monkeypatch.setattr(diff, "find_pod", lambda wanted: ASKED)
        monkeypatch.setattr(diff, "ask_agent", lambda pod, arguments, namespace: record)
        return CliRunner().invoke(diff.command, ["shop/web", "--cluster", *options], standalone_mode=False)

    return call


@pytest.mark.parametrize("output", ["table", "json", "sarif"])
def test_what_a_node_sends_is_made_harmless(ask: Callable[..., click.testing.Result], output: str) -> None:
    result = ask(encode(ShownContainers(containers=(SHOWN,))), "--output", output)
    assert result.return_value == 1 and "evil" in result.output
    assert all(c in "\n\t" or c.isprintable() for c in result.output)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        b'{"containers": 1}',
        encode(ShownContainers(containers=(replace(SHOWN, has_secrets=True),))),
        encode(ShownContainers(containers=(replace(SHOWN, container=replace(SHOWN.container, pod=None)),))),
        encode(
            ShownContainers(
                containers=(replace(SHOWN, container=replace(SHOWN.container, pod=PodOf(namespace="shop", name="web", uid="u2"))),)
            )
        ),
    ],
    ids=["nothing", "empty", "nonsense", "secrets", "no-pod", "another-pod"],
)
def test_a_record_of_anything_else_is_refused(ask: Callable[..., click.testing.Result], record: bytes) -> None:
    result = ask(record)
    assert isinstance(result.exception, InputError) and "evil" not in result.output


def test_a_clean_pod_is_clean(ask: Callable[..., click.testing.Result]) -> None:
    assert ask(encode(ShownContainers(containers=(replace(SHOWN, differences=()),)))).return_value == 0


def pod(**containers: str) -> dict[str, object]:
    """A pod as the API has it; `containers`: name → state; `init` is an init container."""
    statuses = [{"name": name, "state": {state: {}}} for name, state in containers.items() if state]
    spec = {"nodeName": "n1", "initContainers": [{"name": "init"}], "containers": [{"name": name} for name in containers if name != "init"]}
    return {"metadata": {"uid": "u1"}, "spec": spec, "status": {"containerStatuses": statuses}}


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, object] | None], Pod]:
    class Api:
        namespace = "mine"
        found: dict[str, object] | None = None

        def get(self, kind: object, name: str, namespace: str) -> dict[str, object] | None:
            return self.found

        def close(self) -> None:
            pass

    def call(wanted: str, found: dict[str, object] | None) -> Pod:
        monkeypatch.setattr(Api, "found", found)
        monkeypatch.setattr("intact.adapters.cluster.api.Api", Api)
        return diff_in_cluster.find_pod(wanted)

    return call


def test_a_pod_that_runs_is_asked_for_whole_or_in_part(find: Callable[[str, dict[str, object] | None], Pod]) -> None:
    both = pod(app="running", side="running", init="terminated")
    assert find("shop/web", both).target == "shop/web" and find("shop/web/app", both).target == "shop/web/app"
    assert find("web", both) == Pod(target="mine/web", uid="u1", node="n1") and find("shop/web/POD", both).target.endswith("/POD")


def test_containers_that_do_not_run_are_not_seen_and_that_is_no_clean_bill(
    find: Callable[[str, dict[str, object] | None], Pod], ask: Callable[..., click.testing.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find("shop/web", pod(app="running", side="waiting"))
    assert [(container.name, state) for container, state in found.idle] == [("side", "waiting")]
    assert find("shop/web/app", pod(app="running", side="waiting")).idle == ()
    monkeypatch.setattr(diff, "find_pod", lambda wanted: found)
    record = encode(ShownContainers(containers=(replace(SHOWN, differences=()),)))
    monkeypatch.setattr(diff, "ask_agent", lambda pod, arguments, namespace: record)
    result = CliRunner().invoke(diff.command, ["shop/web", "--cluster", "--output", "json"], standalone_mode=False)
    assert result.return_value == 3 and "shop/web/side: not observed: /: it does not run: waiting" in result.stderr
    assert [one["baseline"]["grade"] for one in json.loads(result.stdout)] == ["Verified", ""]


@pytest.mark.parametrize(
    ("wanted", "found", "said"),
    [
        ("web", None, "no pod web in namespace mine"),
        ("shop/web/ap", pod(app="running", side="waiting"), "its containers: app (running), side (waiting)"),
        (
            "shop/web/init",
            pod(app="running", init="terminated"),
            "no container init runs in the pod shop/web (its containers: app (running)",
        ),
        (
            "shop/web",
            pod(job="terminated"),
            "nothing runs in the pod shop/web (its containers: job (terminated), init (waiting); what",
        ),
        ("shop/web", pod(job=""), "job (waiting)"),
        ("shop/web", pod(app="running") | {"spec": {}}, "on no node yet"),
    ],
)
def test_what_cannot_be_looked_at_is_said_with_what_can(
    find: Callable[[str, dict[str, object] | None], Pod], wanted: str, found: dict[str, object] | None, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        find(wanted, found)
    assert said in str(caught.value)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def make(script: str) -> None:
        (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "kubectl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


def test_the_command_is_carried_out_in_the_pod_and_its_output_comes_back(kubectl: Callable[[str], None]) -> None:
    kubectl("printf '%s ' \"$@\"")
    said = b"".join(call_in_pod("pod/a", "agent", ["diff", "shop/web"], namespace="system")).decode()
    assert said == "-n system exec pod/a -c agent -- /usr/bin/python3 -IB -m intact diff shop/web "


def test_what_failed_there_is_said_here_in_one_harmless_line(kubectl: Callable[[str], None]) -> None:
    kubectl("printf 'one\\ntwo\\033[2J\\n' >&2; exit 7")
    with pytest.raises(PermanentError) as caught:
        list(call_in_pod("pod/a", "agent", []))
    assert "one; two" in str(caught.value) and "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("target", "is_said"), [("shop/web", True), ("web", False)])
def test_who_meant_a_pod_of_the_cluster_is_told_how_to_ask_it(monkeypatch: pytest.MonkeyPatch, target: str, is_said: bool) -> None:
    monkeypatch.setenv("KUBECONFIG", "/there")
    result = CliRunner().invoke(diff.command, [target, "--socket", "/nowhere"], standalone_mode=False)
    assert isinstance(result.exception, InputError) and ("--cluster asks" in result.stderr) is is_said


def test_one_that_never_answers_is_not_waited_for(kubectl: Callable[[str], None]) -> None:
    kubectl("exec sleep 600")
    with pytest.raises(TemporaryError, match=r"the agent in pod/a did not answer within 0 s"):
        list(call_in_pod("pod/a", "agent", [], patience_s=0.2))


def test_an_error_there_is_the_same_error_here(kubectl: Callable[[str], None]) -> None:
    kubectl("echo 'intact: no container x runs here' >&2; echo 'command terminated with exit code 10' >&2; exit 10")
    with pytest.raises(InputError) as caught:
        list(call_in_pod("pod/a", "agent", []))
    assert str(caught.value) == "the agent says: no container x runs here"


def test_one_that_speaks_without_end_is_not_waited_for(kubectl: Callable[[str], None]) -> None:
    kubectl("exec yes")
    chunks = call_in_pod("pod/a", "agent", [])
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
