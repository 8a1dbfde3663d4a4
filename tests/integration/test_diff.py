"""`intact diff` on a node: what people see of a container that was changed, and what they must never see."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import images, layers, oci
from lab.runtime import Runtime
from tests.integration.watching import Watching, intact

NAME = "docker.io/local/shown:1"
CLEAN, DIFFERENT, USAGE, UNOBSERVED = 0, 1, 2, 3
SECRET = "hunter2-hunter2"
CONFIG = b"listen 80\nworkers 4\npassword: old-" + SECRET.encode() + b"\nlog on\n"


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> oci.ImageLayout:
    directory = tmp_path_factory.mktemp("shown")
    files = {b"/srv/app/app.conf": CONFIG, b"/srv/app/gone.txt": b"one\ntwo\n", b"/etc/shadow": b"root:*:1:0:99999:7:::\n"}
    upper = [layers.file(b"/srv/app/main.sh", b"#!/bin/sh\nexec true\n", 0o755)]
    image = images.busybox_image(directory, NAME, files=files, upper_layers=[upper])
    runtime.import_image(image)
    return image


@pytest.fixture(scope="module")
def changed(runtime: Runtime, image: oci.ImageLayout) -> Iterator[str]:
    runtime.run(NAME, "changed")
    script = (
        f"sed -i 's/workers 4/workers 8/; s/old-{SECRET}/new-{SECRET}/' /srv/app/app.conf; rm /srv/app/gone.txt;"
        "cp /bin/busybox /usr/bin/dropped; chmod 700 /srv/app/main.sh;"
        f"echo 'root:$6$salt$abcdefgh{SECRET}:1:::::' > /etc/shadow;"
        "printf 'a\\033[2Jb\\n' > /srv/app/evil.sh; mkdir -p /data; echo x > /data/file"
    )
    runtime.exec("changed", ["sh", "-c", script])
    yield "changed"
    runtime.stop("changed")


def diff(runtime: Runtime, *arguments: str | Path, code: int) -> subprocess.CompletedProcess[str]:
    done = intact("diff", *arguments, "--socket", runtime.address)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def differences(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    (container,) = json.loads(done.stdout)
    return {one["path"]: one for one in container["differences"]}


def test_a_container_like_its_image_is_clean(runtime: Runtime, image: oci.ImageLayout) -> None:
    runtime.run(NAME, "untouched")
    try:
        done = diff(runtime, "untouched", code=CLEAN)
        assert done.stdout == "" and "nothing differs" in done.stderr
    finally:
        runtime.stop("untouched")


def test_people_see_lines_kinds_owners_and_when(runtime: Runtime, changed: str) -> None:
    rows = differences(diff(runtime, changed, "--output", "json", code=DIFFERENT))
    assert "-workers 4" in rows["/srv/app/app.conf"]["text"] and "+workers 8" in rows["/srv/app/app.conf"]["text"]
    assert {"-one", "-two"} <= set(rows["/srv/app/gone.txt"]["text"])
    assert rows["/usr/bin/dropped"]["now"].startswith("ELF 64-bit") and rows["/usr/bin/dropped"]["text"] == []
    assert (rows["/srv/app/main.sh"]["expected"]["mode"], rows["/srv/app/main.sh"]["actual"]["mode"]) == ("0755", "0700")
    assert all(row["changed_at"] for row in rows.values())
    table = diff(runtime, changed, code=DIFFERENT).stdout
    assert "+workers 8" in table and "mode 0755 -> 0700" in table and "ELF 64-bit" in table


@pytest.mark.parametrize("output", ["table", "json", "sarif"])
def test_no_secret_and_nothing_that_a_terminal_obeys_is_printed(runtime: Runtime, changed: str, output: str) -> None:
    done = diff(runtime, changed, "--all", "--output", output, code=DIFFERENT)
    assert SECRET not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert "password: [redacted]" in done.stdout and "/etc/shadow" in done.stdout


def test_secrets_are_shown_to_whoever_asks_on_the_node(runtime: Runtime, changed: str) -> None:
    rows = differences(diff(runtime, changed, "--show-secrets", "--output", "json", code=DIFFERENT))
    assert f"+password: new-{SECRET}" in rows["/srv/app/app.conf"]["text"]
    assert any(SECRET in line for line in rows["/etc/shadow"]["text"])


def test_what_the_rules_are_silent_about_is_counted_and_shown_on_request(runtime: Runtime, changed: str) -> None:
    done = diff(runtime, changed, "--output", "json", code=DIFFERENT)
    assert "/data/file" not in differences(done) and "--all" in done.stderr
    shown = differences(diff(runtime, changed, "--all", "--output", "json", code=DIFFERENT))["/data/file"]
    assert (shown["level"], shown["rule"]) == ("", "data-added")


def test_as_json_lines_each_difference_is_a_line_and_each_container(runtime: Runtime, changed: str) -> None:
    rows = [json.loads(line) for line in diff(runtime, changed, "--output", "jsonl", code=DIFFERENT).stdout.splitlines()]
    assert [row["type"] for row in rows] == [*["difference"] * (len(rows) - 1), "container"] and len(rows) > 3
    assert all(row["container"] == rows[-1]["container"] for row in rows) and rows[-1]["silent"] > 0


def test_sarif_has_what_its_readers_need(runtime: Runtime, changed: str) -> None:
    log = json.loads(diff(runtime, changed, "--output", "sarif", code=DIFFERENT).stdout)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "Intact" and len({rule["id"] for rule in rules}) == len(rules)
    assert run["invocations"][0]["executionSuccessful"] is True
    assert run["results"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] and result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert not place["uri"].startswith("/") and place["uriBaseId"] in run["originalUriBaseIds"]
        assert all(rules[result["ruleIndex"]].values())


def test_the_image_is_not_quoted_from_a_layer_that_was_tampered_with(runtime: Runtime, changed: str) -> None:
    lower = next(path for layer in runtime.lowers(changed) if (path := layer / "srv/app/app.conf").exists())
    before = lower.read_bytes()
    try:
        lower.write_bytes(before.replace(b"workers 4", b"workers 5"))
        rows = differences(diff(runtime, changed, "--no-layers", "--output", "json", code=DIFFERENT))
        assert rows["/srv/app/app.conf"]["text"] == [] and "not as its baseline says" in rows["/srv/app/app.conf"]["untold"]
    finally:
        lower.write_bytes(before)


def test_what_could_not_be_read_is_neither_clean_nor_a_difference(runtime: Runtime, image: oci.ImageLayout) -> None:
    runtime.run(NAME, "unread")
    try:
        runtime.exec("unread", ["touch", "/srv/app/app.conf"])
        os.setxattr(runtime.upper("unread") / "srv/app/app.conf", "trusted.overlay.metacopy", b"")
        done = diff(runtime, "unread", "--output", "sarif", code=UNOBSERVED)
        invocation = json.loads(done.stdout)["runs"][0]["invocations"][0]
        assert not invocation["executionSuccessful"] and "app.conf" in invocation["toolExecutionNotifications"][0]["message"]["text"]
        assert "not observed: /srv/app/app.conf" in done.stderr
    finally:
        runtime.stop("unread")


def test_who_did_it_is_named_where_somebody_watched(runtime: Runtime, image: oci.ImageLayout, tmp_path: Path) -> None:
    runtime.run(NAME, "heard")
    try:
        with Watching(runtime.address, tmp_path / "state") as watch:
            watch.hear_verdict("heard")
            runtime.exec("heard", ["/bin/sh", "-c", "( echo owned --password hunter2 > /srv/app/main.sh )"])
            watch.hear_finding("/srv/app/main.sh", "Modified")
            deadline = time.monotonic() + 60
            row: dict[str, Any] = {}
            while not row.get("writer") and time.monotonic() < deadline:
                done = diff(runtime, "heard", "--no-layers", "--state", tmp_path / "state", "--output", "json", code=DIFFERENT)
                row = differences(done)["/srv/app/main.sh"]
        assert row["writer"]["executable"] == "/bin/busybox" and row["writer"]["has_exited"], "a subshell, gone long ago"
        assert "/bin/busybox" in row["process"] and "hunter2" not in done.stdout
    finally:
        runtime.stop("heard")


def test_a_container_that_is_not_there_is_named(runtime: Runtime, image: oci.ImageLayout) -> None:
    done = intact("diff", "nobody", "--socket", runtime.address)
    assert done.returncode == 10 and "nobody" in done.stderr and done.stdout == ""


def test_secrets_never_go_through_a_cluster() -> None:
    done = intact("diff", "shop/web", "--cluster", "--show-secrets")
    assert done.returncode == USAGE and "node itself" in done.stderr
