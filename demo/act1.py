"""Act 1, without Kubernetes: containerd, `intact watch`, a web server that is tampered with, and a record that is broken by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.story import Story
from lab.images import web_image
from lab.runtime import Runtime
from lab.watching import Watching, watch

INTACT = (sys.executable, "-m", "intact")
CONTAINER = "web"
IMAGE = "registry.example/shop/web:v1"


@dataclass(frozen=True, slots=True)
class Tampering:
    what: str
    command: tuple[str, ...]
    path: str
    change: str


TAMPERINGS = (
    Tampering(
        "a web shell is dropped into the document root",
        ("sh", "-c", "echo '<?php system($_GET[0]); ?>' > /usr/share/nginx/html/status.php"),
        "/usr/share/nginx/html/status.php",
        "Added",
    ),
    Tampering("a program is replaced", ("cp", "/usr/bin/env", "/usr/bin/id"), "/usr/bin/id", "Modified"),
    Tampering("a shell gets the setuid bit", ("chmod", "u+s", "/usr/bin/dash"), "/usr/bin/dash", "Metadata"),
    Tampering("a configuration file is deleted", ("rm", "/etc/nginx/mime.types"), "/etc/nginx/mime.types", "Deleted"),
)


def play(story: Story, workspace: Path) -> None:
    """Tells the act. Everything it starts is gone when it returns, also when it fails."""
    story.act("Act 1: one host, no Kubernetes")
    with story.step("a web server's image is made from Debian packages (the base is cached after the first time)"):
        image = web_image(workspace / "web", IMAGE, "v1")
    with Runtime() as runtime, watch(runtime.address, workspace / "watch") as watching:
        story.say("containerd runs, and `intact watch` with it; a container starts from the image")
        runtime.import_image(image)
        runtime.run(IMAGE, CONTAINER)
        first = watching.hear(lambda line: line["type"] == "verdict" and line["container"]["id"] == CONTAINER)
        story.show(
            f"{first['container']['image']}: {first['state']}, {first['compared']} paths compared, baseline {first['baseline']['grade']}"
        )
        story.claim("a container that nobody touched is intact", first["state"] == "Intact", str(first))
        for tampering in TAMPERINGS:
            _tamper(story, runtime, watching, tampering)
        touched = runtime.exec(CONTAINER, ["touch", "/usr/bin/env"], check=False)
        told = watching.hear_within(1.5, lambda line: line["type"] == "finding")
        story.claim("a touched but unchanged file raises nothing", touched.returncode == 0 and told is None, str(told))
        _check(story, runtime)
    _tell_record(story, workspace)


def _tamper(story: Story, runtime: Runtime, watching: Watching, tampering: Tampering) -> None:
    story.say(tampering.what + ":  " + " ".join(tampering.command))
    runtime.exec(CONTAINER, tampering.command)
    told = watching.hear(lambda line: line["type"] == "finding" and line["path"] == tampering.path)
    changed_at = _changed_at(runtime, tampering.path)
    latency_ms = 1000 * (told["heard_at"] - changed_at) if changed_at else float("nan")
    story.show(
        f"{told['level']} {told['change']} {told['path']} in {told['container']['name']} ({told['rule']}), {latency_ms:.0f} ms after it"
    )
    story.show(f"expected {_state(told['expected'])}")
    story.show(f"actual   {_state(told['actual'])}")
    story.claim(f"{tampering.path} is reported as {tampering.change}", told["change"] == tampering.change, str(told))


def _state(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "nothing"
    return f"{entry.get('digest') or entry['kind']}  mode {entry['mode']}  {entry['uid']}:{entry['gid']}  {entry['size_bytes']} bytes"


def _changed_at(runtime: Runtime, path: str) -> float | None:
    """When the kernel last changed the file's inode in the writable layer, by the monotonic clock; a whiteout shares its inode, so it has
    no time of its own."""
    try:
        found = os.lstat(runtime.upper(CONTAINER) / path.lstrip("/"))
    except FileNotFoundError:
        return None
    return found.st_ctime - (time.time() - time.monotonic())


def _check(story: Story, runtime: Runtime) -> None:
    done = _intact("check", "--container", CONTAINER, "--socket", str(runtime.address), "--output", "table")
    story.say("anybody can look once, by hand:  intact check --container web")
    story.show(done.stdout)
    paths = {tampering.path for tampering in TAMPERINGS}
    story.claim(
        "`intact check` names the same four paths and exits with 1",
        done.returncode == 1 and all(p in done.stdout for p in paths),
        done.stderr,
    )


def _tell_record(story: Story, workspace: Path) -> None:
    story.say("everything was recorded; the record is exported and verified offline")
    export, key = workspace / "audit.jsonl", workspace / "watch" / "audit.pub"
    _intact("audit", "export", "--state", str(workspace / "watch"), "-o", str(export))
    done = _intact("audit", "verify", str(export), "--key", str(key))
    story.show(done.stdout or done.stderr)
    story.claim("the record verifies", done.returncode == 0, done.stderr)
    story.say("now somebody edits one leaf by hand: the web shell becomes a picture")
    text = export.read_text()
    export.write_text(text.replace("status.php", "status.png", 1))
    done = _intact("audit", "verify", str(export), "--key", str(key))
    story.show(done.stderr or done.stdout)
    story.claim("the edited record is refused", text != export.read_text() and done.returncode == 11, done.stdout)


def _intact(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*INTACT, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
