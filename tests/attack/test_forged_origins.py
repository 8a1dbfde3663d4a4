"""Files that claim to come from the image: what does is silent, what only looks so is told."""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.tree import HostTree
from intact.adapters.provenance.workshop import Workshop
from intact.compare.differ import compare
from intact.compare.judge import find_candidates, judge
from intact.model.derivation import Proof
from intact.model.finding import Level
from intact.observe.derive import MAX_FORGED, Deriver

from .staged import Staged

SOURCE = b'''import os

class Shop:
    """A shop."""
    names = frozenset({"a", "b", "c"})
    def sell(self, n: int = 7) -> str:
        return f"{n}"
'''
TAG = importlib.util.cache_from_source("shop.py").rpartition("/")[2]
MTIME = 1_700_000_000


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path) as one:
        app = one.image / "srv/app"
        app.mkdir(parents=True)
        (app / "shop.py").write_bytes(SOURCE)
        (app / "linked.py").symlink_to("/opt/real/linked.py")
        (one.image / "opt/real").mkdir(parents=True)
        (one.image / "opt/real/linked.py").write_bytes(b"x = 1\n")
        for source in (app / "shop.py", one.image / "opt/real/linked.py"):
            os.utime(source, (MTIME, MTIME))
        yield one


@pytest.fixture
def deriver() -> Iterator[Deriver]:
    one = Deriver(lambda directory: HostTree(directory), Workshop())
    yield one
    one.close()


def told(staged: Staged, deriver: Deriver) -> dict[bytes, tuple[str, Level]]:
    observation = staged.look()
    differences = compare(staged.baseline, observation)
    candidates = find_candidates(staged.baseline, observation, differences)
    known, unknown = deriver.recall(staged.baseline, candidates)
    known |= deriver.establish(staged.running(), staged.baseline, unknown)
    again, still_unknown = deriver.recall(staged.baseline, candidates)
    assert (again, still_unknown) == (known, ())
    verdict = judge(staged.baseline, observation, differences, known)
    return {finding.difference.path: (finding.rule, finding.level) for finding in verdict.findings}


def cache(source: bytes, *, name: str = "/srv/app/shop.py", mtime: int = MTIME, size: int | None = None, flags: int = 0,
          optimize: int = 0, magic: bytes = importlib.util.MAGIC_NUMBER) -> bytes:  # fmt: skip
    """What an interpreter of this version writes for `source`, or not quite."""
    header = magic + struct.pack("<III", flags, mtime, len(SOURCE) if size is None else size)
    return header + marshal.dumps(compile(source, name, "exec", dont_inherit=True, optimize=optimize))


def put(staged: Staged, content: bytes, name: str = TAG) -> bytes:
    path = staged.inside / "srv/app/__pycache__" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return b"/srv/app/__pycache__/" + os.fsencode(name)


def test_a_bytecode_cache_that_an_interpreter_wrote_is_silent(staged: Staged, deriver: Deriver) -> None:
    staged.start()
    put(staged, cache(SOURCE))
    put(staged, cache(SOURCE, optimize=2), TAG.replace(".pyc", ".opt-2.pyc"))
    put(staged, cache(b"x = 1\n", name="/srv/app/linked.py", size=6), TAG.replace("shop", "linked"))
    assert told(staged, deriver) == {}


@pytest.mark.parametrize(
    "content",
    [
        cache(SOURCE + b"os.system('id')\n"),
        cache(SOURCE.replace(b"7", b"8")),
        cache(SOURCE, flags=1),
        cache(SOURCE, flags=3),
        cache(SOURCE, flags=1, magic=b"\x55\x0d\r\n"),
        b"\x7fELF" + bytes(40),
        cache(SOURCE, name="/srv/app/other.py"),
        cache(SOURCE) + b"N",
        cache(SOURCE)[:-1],
        cache(SOURCE)[:12],
        importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, MTIME, len(SOURCE)) + b"\xa9" + b"\xff" * 4,
        importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, MTIME, len(SOURCE)) + b"\xa9\x01" * 100_000,
    ],
    ids=[
        "other code",
        "one number",
        "unchecked hash",
        "checked hash",
        "unchecked hash of another version",
        "a program",
        "other name",
        "tail",
        "cut",
        "header",
        "huge tuple",
        "deep tuples",
    ],
)
def test_a_forged_bytecode_cache_is_told(staged: Staged, deriver: Deriver, content: bytes) -> None:
    staged.start()
    path = put(staged, content)
    assert told(staged, deriver) == {path: ("bytecode-forged", Level.HIGH)}


@pytest.mark.parametrize("content", [cache(SOURCE, magic=b"\x55\x0d\r\n"), cache(SOURCE, mtime=1), cache(SOURCE, size=1)])
def test_what_cannot_be_established_is_told_as_such(staged: Staged, deriver: Deriver, content: bytes) -> None:
    staged.start()
    path = put(staged, content)
    assert told(staged, deriver) == {path: ("bytecode-cache-added", Level.LOW)}


@pytest.mark.parametrize(
    "source",
    [b"(" * 5000 + b")" * 5000, b"-" * 500_000 + b"1", b"x = " + b"[" * 90 + b"1" + b"]" * 90 + b"\n", b"x=" + b"9" * 5_000 + b"\n",
     b"\0", b"a=b'" + b"x" * 1_500_000 + b"'\n", b"x = 2 ** 63 ** 9\n" * 5],
    ids=["parentheses", "minuses", "lists", "digits", "null", "long", "power"],
)  # fmt: skip
def test_an_image_whose_source_harms_its_compiler_harms_nobody_else(staged: Staged, deriver: Deriver, source: bytes) -> None:
    (staged.image / "srv/app/evil.py").write_bytes(source)
    staged.start()
    first = put(staged, cache(b"", name="/srv/app/evil.py", size=len(source)), TAG.replace("shop", "evil"))
    put(staged, cache(SOURCE))
    found = told(staged, deriver)
    assert set(found) == {first}, "the one that comes after it is still established"


def test_a_source_on_the_host_is_never_taken_for_the_images(staged: Staged, deriver: Deriver, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_bytes(SOURCE)
    (staged.image / "srv/app/out.py").symlink_to(outside)
    (staged.image / "srv/app/up.py").symlink_to(f"../../../../../../../..{outside}")
    staged.start()
    paths = {put(staged, cache(SOURCE, name=f"/srv/app/{name}.py"), TAG.replace("shop", name)) for name in ("out", "up")}
    assert told(staged, deriver) == dict.fromkeys(paths, ("bytecode-cache-added", Level.LOW))


def test_a_changed_source_does_not_vouch_for_its_bytecode(staged: Staged, deriver: Deriver) -> None:
    staged.start()
    changed = SOURCE.replace(b"7", b"8")
    (staged.inside / "srv/app/shop.py").write_bytes(changed)
    path = put(staged, cache(changed))
    assert told(staged, deriver)[path] == ("bytecode-forged", Level.HIGH)


def test_a_lower_layer_that_changed_on_the_host_vouches_for_nothing(staged: Staged, deriver: Deriver) -> None:
    staged.start()
    changed = SOURCE.replace(b"7", b"8")
    (staged.image / "srv/app/shop.py").write_bytes(changed)
    os.utime(staged.image / "srv/app/shop.py", (MTIME, MTIME))
    path = put(staged, cache(changed))
    assert told(staged, deriver)[path] == ("bytecode-cache-added", Level.LOW)


def test_set_user_id_is_never_excused_by_where_a_file_comes_from(staged: Staged, deriver: Deriver) -> None:
    staged.start()
    path = put(staged, cache(SOURCE))
    (staged.inside / os.fsdecode(path[1:])).chmod(0o4755)
    assert told(staged, deriver)[path][0] == "privilege-bits"


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return made.getvalue()


CLASS = b"\xca\xfe\xba\xbe" + bytes(range(200))
JAVA = Path("opt/shop/webapps")


def deploy(staged: Staged, files: dict[str, bytes]) -> None:
    (staged.image / JAVA).mkdir(parents=True)
    for name, content in files.items():
        (staged.image / JAVA / name).write_bytes(content)
    staged.start()


def unpack(staged: Staged, name: str, content: bytes) -> bytes:
    path = staged.inside / JAVA / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return b"/" + os.fsencode(str(JAVA / name))


@pytest.mark.parametrize(
    "files",
    [
        {"shop.war": archive({"WEB-INF/classes/A.class": CLASS})},
        {"shop.war": archive({"WEB-INF/lib/a.jar": archive({"A.class": CLASS})}, zipfile.ZIP_STORED)},
        {"shop.war": archive({"WEB-INF/lib/a.jar": archive({"A.class": CLASS})})},
        {"broken.jar": b"PK\x03\x04 no", "empty.jar": b"", "shop.war": archive({"A.class": CLASS})},
    ],
    ids=["member", "stored nested", "packed nested", "beside broken ones"],
)
def test_an_unpacked_member_of_an_archive_is_silent_and_a_changed_one_is_told(
    staged: Staged, deriver: Deriver, files: dict[str, bytes]
) -> None:
    deploy(staged, files)
    unpack(staged, "shop/WEB-INF/classes/A.class", CLASS)
    assert told(staged, deriver) == {}
    changed = unpack(staged, "shop/WEB-INF/classes/A.class", CLASS[:-1] + b"\0")
    shell = unpack(staged, "shop/shell.jsp", b"<% %>")
    assert told(staged, deriver) == dict.fromkeys((changed, shell), ("code-added", Level.HIGH))


def test_an_archive_that_the_container_added_vouches_for_nothing(staged: Staged, deriver: Deriver) -> None:
    deploy(staged, {"shop.war": archive({"A.class": CLASS})})
    shell = b"<% evil %>"
    paths = {unpack(staged, "evil.war", archive({"shell.jsp": shell})), unpack(staged, "evil/shell.jsp", shell)}
    assert set(told(staged, deriver)) == paths


def bomb() -> bytes:
    packed = archive({"x": bytes(60 << 20)})
    return archive({f"{n}.jar": packed for n in range(12)})


@pytest.mark.parametrize(
    "make",
    [bomb, lambda: archive({"A.class": CLASS})[:-4] + b"\xff\xff\xff\xff"],
    ids=["bomb", "bad end"],
)
def test_an_archive_that_is_dear_to_read_is_bounded(staged: Staged, deriver: Deriver, make: Callable[[], bytes]) -> None:
    deploy(staged, {"a.war": make(), "b.war": archive({"A.class": CLASS})})
    wanted = unpack(staged, "x/x.class", bytes(60 << 20))
    unpack(staged, "b/A.class", CLASS)
    assert set(told(staged, deriver)) <= {wanted}


def test_the_checking_process_has_no_rights(tmp_path: Path) -> None:
    script = (
        "from intact.adapters.provenance.workbench import give_up_rights as g; g();"
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff','CapPrm','NoNewPrivs'))]);"
        f"import os; os.write(os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY), b'x')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "['0000000000000000', '0000000000000000', '1']"
    assert done.returncode != 0, "it can write no file"


def test_a_checking_process_that_dies_leaves_its_file_unknown_and_goes_on() -> None:
    workshop = Workshop()
    pairs = [(cache(SOURCE), SOURCE, "shop.py", MTIME, 0)] * 2

    def killing() -> Iterator[tuple[bytes, bytes, str, int, int]]:
        yield pairs[0]
        workshop.kill()
        yield pairs[1]
        yield pairs[0]

    assert [one.proof for one in workshop.recompile(killing())] == [Proof.DERIVED, Proof.UNKNOWN, Proof.DERIVED]


def test_a_crowd_of_forged_caches_costs_the_node_little(staged: Staged, deriver: Deriver) -> None:
    names = [f"shop{number}.py" for number in range(MAX_FORGED + 30)]
    for name in names:
        (staged.image / "srv/app" / name).write_bytes(SOURCE)
    staged.start()
    for name in names:
        put(staged, cache(b"evil()", name=f"/srv/app/{name}"), TAG.replace("shop", name[:-3]))
    rules = [rule for rule, _ in told(staged, deriver).values()]
    assert (rules.count("bytecode-forged"), rules.count("bytecode-cache-added")) == (MAX_FORGED, 30)
