"""Files of the image that nobody touches, and another one beside them that is taken in their place: each is told, and what services write
beside them under other names is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.model.finding import Level
from tests.attack.staged import Staged

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

IMAGE = (
    "usr/src/app/server.js", "usr/src/app/lib/pay.js", "usr/src/app/lib/prices.json", "usr/src/app/lib/fast.node",
    "usr/src/app/dist/app.service.js", "usr/src/app/node_modules/express/lib/router.js", "srv/perl/lib/Shop.pm",
    "opt/java/lib/server/libjvm.so", "usr/share/nginx/html/index.html", "usr/share/nginx/html/app.js", "usr/share/nginx/html/cat.png",
    "srv/ruby/app.rb", "srv/uploads/", "data/", "tmp/", "run/",
)  # fmt: skip
TAKEN = (
    "usr/src/app/lib/pay", "usr/src/app/lib/prices", "usr/src/app/lib/fast", "usr/src/app/dist/app.service",
    "usr/src/app/node_modules/express/lib/router", "usr/src/app/lib/node_modules/express", "usr/src/app/node_modules/@shop/pay",
    "srv/perl/lib/Shop.pmc", "opt/java/lib/server/classes.jsa", "opt/java/lib/server/classes_nocoops.jsa",
    "usr/share/nginx/html/index.html.gz", "usr/share/nginx/html/index.html.br", "usr/share/nginx/html/app.js.zst",
)  # fmt: skip
QUIET = (
    "usr/src/app/server.pid", "usr/src/app/lib/sales", "usr/src/app/lib/pay.tmp", "usr/src/app/state.json", "usr/src/app/backup.json.gz",
    "usr/src/app/node_modules/.package-lock.json", "usr/src/app/node_modules/.cache/babel/x", "usr/share/nginx/html/cat.png.gz",
    "usr/share/nginx/html/dump.gz", "srv/uploads/pay", "data/page.html.gz", "tmp/pay", "srv/ruby/app",
)  # fmt: skip


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in IMAGE:
            place = staged.image / name
            (place if name.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                place.write_bytes(b"as it came\n")
        yield staged.start()


def prepare(staged: Staged, path: str) -> Path:
    place = staged.inside / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def told(staged: Staged, level: Level) -> set[str]:
    return {one.difference.path.decode()[1:] for one in staged.judge().findings if one.level >= level}


def test_a_file_that_is_taken_instead_of_the_images_is_told_as_grave(staged: Staged) -> None:
    for name in TAKEN:
        prepare(staged, name).write_bytes(b"module.exports = evil\n")
    assert set(TAKEN) - told(staged, Level.HIGH) == set()


def test_a_link_that_is_taken_instead_of_the_images_file_is_told_as_grave(staged: Staged) -> None:
    for name in TAKEN:
        prepare(staged, name).symlink_to("/tmp/evil")
    assert set(TAKEN) - told(staged, Level.HIGH) == set()


@pytest.mark.parametrize("path", ["usr/src/app/lib/pay", "usr/src/app/lib/missing.js", "srv/perl/lib/Other.pm", "srv/ruby/helper.rb"])
def test_a_fifo_that_an_interpreter_reads_as_a_module_is_told(staged: Staged, path: str) -> None:
    """Node, Perl and Ruby read a module from a FIFO: its code is in nobody's file."""
    os.mkfifo(prepare(staged, path))
    assert path in told(staged, Level.HIGH)


def test_a_fifo_between_processes_is_not_told(staged: Staged) -> None:
    for name in ("srv/ruby/control", "run/fifo", "srv/uploads/x.js", "tmp/x.sh", "data/queue"):
        os.mkfifo(prepare(staged, name))
    assert told(staged, Level.LOW) == set()


def test_what_services_write_beside_it_is_not_told(staged: Staged) -> None:
    for name in QUIET:
        prepare(staged, name).write_bytes(b"data\n")
    assert told(staged, Level.LOW) == set()
