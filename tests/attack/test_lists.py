"""Who brings a list: what it must not become, and what it must not do."""

import contextlib
import time

import pytest

from intact.baseline.document import encode_document, load_document, split_document
from intact.baseline.formats.document import read_document
from intact.baseline.formats.export import Export, export
from intact.baseline.formats.losses import Losses
from intact.baseline.formats.read import Reading, read_lists
from intact.baseline.signing import open_envelope
from intact.baseline.statement import decode_statement
from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TrustError
from intact.model.finding import State
from intact.model.layer import Baseline, Grade
from intact.model.observation import Scope
from tests.unit.baseline.vectors import KEY
from tests.unit.trees import file, seen

SUM = Digest.of(b"x").hex.encode()


def make_list(text: bytes = SUM + b"  /bin/tool\n") -> Baseline:
    return read_lists([text], Reading(key=Digest.of(b"config"), source="list")).baseline


def test_a_list_is_refused_where_a_baseline_is_wanted_though_a_trusted_key_signed_it() -> None:
    """L1: it names the image's key, and knows neither modes nor owners."""
    document = encode_document(make_list(), [KEY])
    with pytest.raises(InputError, match="not a baseline"):
        load_document(document, trusted=[KEY.public])
    envelope, _ = split_document(memoryview(document))
    with pytest.raises(InputError, match="not a baseline"):
        decode_statement(open_envelope(envelope, trusted=[KEY.public]).payload)


def test_what_a_list_states_cannot_be_widened_without_another_root() -> None:
    """L1: `stated` left out of a document makes it another baseline, which its root says."""
    text = b"".join(export(Export(baseline=make_list()), "json", Losses()))
    start = text.index(b' "stated"')
    widened = text[:start] + text[text.index(b' "layers"') :]
    with pytest.raises(TrustError, match="states the root"):
        read_document(widened)


def test_a_file_with_the_same_md5_is_not_called_intact() -> None:
    """L2: equal weak sums prove nothing; different ones prove that something changed."""
    weak = make_list(b"d" * 32 + b"  /bin/tool\n")
    same = file(b"/bin/tool", further=(Digest("md5", bytes.fromhex("d" * 32)),))
    observation = seen(same, scope=Scope.TREE)
    verdict = judge(weak, observation, compare(weak, observation))
    assert (verdict.state, verdict.findings) == (State.UNOBSERVED, ())
    assert verdict.grade is Grade.SUPPLIED
    other = seen(file(b"/bin/tool", further=(Digest("md5", bytes(16)),)), scope=Scope.TREE)
    assert judge(weak, other, compare(weak, other)).state is State.DRIFTED


def test_a_list_that_does_not_know_an_algorithm_the_files_were_read_by_proves_nothing() -> None:
    """L2: nothing in common is not equality."""
    listed = make_list(b"e" * 128 + b"  /bin/tool\n")
    observation = seen(file(b"/bin/tool"), scope=Scope.TREE)
    assert judge(listed, observation, compare(listed, observation)).state is State.UNOBSERVED


@pytest.mark.parametrize(
    "text",
    [
        SUM + b"  " + b"a/" * 60_000 + b"\n",
        b"\\" + SUM + b"  " + b"\\n" * 50_000 + b"\n",
        b"(" * 100_000 + b"\n",
        b"SHA256 (" + b"(" * 50_000 + b") = " + SUM + b"\n",
        b"#mtree\n" + b". type=dir\n" + b"a type=dir\n" * 3000,
        b"#mtree\n./x type=link link=" + b"\\M^A" * 20_000 + b"\n",
        b"#mtree\n" + b"/set uid=1\n" * 50_000,
        b"{" * 100_000,
        b'{"format":' + b"[" * 100_000,
    ],
    ids=[f"{number}" for number in range(9)],
)
def test_a_hostile_list_is_refused_or_read_soon(text: bytes) -> None:
    """L3: nesting, length and escapes cost no more than their bytes."""
    started = time.process_time()
    with contextlib.suppress(IntactError):
        read_lists([text], Reading(source="hostile"))
    assert time.process_time() - started < 30


def test_short_names_that_make_long_paths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """L3: a relative name in a deep directory costs its whole path."""
    monkeypatch.setattr("intact.baseline.formats.mtree.MAX_KEPT_BYTES", 1 << 20)
    deep = b". type=dir\n" + (b"d" * 200 + b" type=dir\n") * 20 + b"".join(b"%d type=file\n" % number for number in range(1000))
    with pytest.raises(InputError, match="too long paths"):
        read_lists([deep], Reading(form="mtree", source="hostile"))


def test_keywords_that_are_set_for_every_entry_are_bounded() -> None:
    """L3: a few megabytes of them and of entries would be looked at for days."""
    words = b"".join(b"/set " + b" ".join(b"k%d=1" % number for number in range(first, first + 5000)) + b"\n" for first in (0, 5000))
    entries = b"".join(b"./f%d type=file\n" % number for number in range(20_000))
    with pytest.raises(InputError, match="more than 128 keywords"):
        read_lists([b"#mtree\n" + words + b". type=dir\n" + entries], Reading(form="mtree", key=Digest.of(b"config"), source="list"))


@pytest.mark.parametrize("name", [b"../etc/shadow", b"/a/../../x", b"..", b"a\\n/../b"])
def test_no_path_of_a_list_leads_out_of_the_tree(name: bytes) -> None:
    """L3: what `..` names depends on links."""
    with pytest.raises(InputError):
        make_list(b"\\" + SUM + b"  " + name + b"\n")
    with pytest.raises(InputError):
        read_lists([b"#mtree\n" + name + b" type=file\n"], Reading(source="list"))
