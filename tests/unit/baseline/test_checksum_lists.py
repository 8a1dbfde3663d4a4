"""What a checksum list may look like, line by line, and what becomes of it."""

import resource
from itertools import islice

import pytest

from intact.baseline.formats.checksums import BY_LENGTH
from intact.baseline.formats.lines import MAX_LINE_BYTES
from intact.baseline.formats.read import Read, Reading, read_lists
from intact.model.digest import SIZES, WEAK
from intact.model.entry import Entry
from intact.model.errors import InputError
from intact.model.stated import Aspect

A, B = b"a" * 64, b"b" * 64


def read(
    *lists: bytes, algorithms: tuple[str, ...] = (), zero: bool = False, strip: bytes = b"", below: tuple[bytes, ...] = (b"/",)
) -> Read:
    how = Reading(form="checksums", algorithms=algorithms, zero=zero, strip=strip, below=below, source="test")
    return read_lists(list(lists), how)


def files(found: Read) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in found.baseline.scan() if found.baseline.stated.speaks_of(entry)}


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (A + b"  /etc/passwd", b"/etc/passwd"),
        (A + b"  ./etc/passwd", b"/etc/passwd"),
        (A + b"  etc//./passwd", b"/etc/passwd"),
        (A + b" */etc/passwd", b"/etc/passwd"),
        (A + b"  *odd", b"/*odd"),
        (A + b"   leading blank", b"/ leading blank"),
        (A.upper() + b"  x", b"/x"),
        (b"\\" + A + b"  a\\nb\\\\c\\rd", b"/a\nb\\c\rd"),
        (A + b"  not\\nescaped", b"/not\\nescaped"),
        (A + b"  \xff\xfe", b"/\xff\xfe"),
        (b"SHA256 (etc/passwd) = " + A, b"/etc/passwd"),
        (b"SHA256(etc/passwd)= " + A, b"/etc/passwd"),
        (b"SHA2-256(etc/passwd)= " + A, b"/etc/passwd"),
        (b"\\SHA256 (a\\nb) = " + A, b"/a\nb"),
        (b"SHA256 (a) = b) = " + A, b"/a) = b"),
        (b"\xef\xbb\xbf" + A + b"  bom", b"/bom"),
        (A + b"  dos\r", b"/dos"),
    ],
)
def test_a_line_is_read_as_coreutils_and_bsd_write_it(line: bytes, path: bytes) -> None:
    found = files(read(line + b"\n"))
    assert [(entry.path, str(entry.digest)) for entry in found.values()] == [(path, f"sha256:{A.decode()}")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "the list is empty"),
        (b"\n\n# nothing\n", "the list is empty"),
        (b"hello\n", "line 1 is not HASH"),
        (A + b" one-blank\n", "line 1 is not HASH"),
        (A + b"\n", "line 1 is not HASH"),
        (A + b"  x\n" + A[:40] + b"\n", "line 2 is not HASH"),
        (A[:63] + b"  x\n", "63 hex digits"),
        (b"a" * 65 + b"  x\n", "65 hex digits"),
        (A + b"  ../x\n", "leads out of its directory"),
        (A + b"  /a/../../x\n", "leads out of its directory"),
        (A + b"  a/..\n", "leads out of its directory"),
        (A + b"  /\n", "root directory"),
        (A + b"  -\n", "standard input"),
        (A + b"  a\0b\n", "NUL"),
        (A + b"  " + b"x" * 5000 + b"\n", "a path of 5001 bytes"),
        (A + b"  " + b"x" * (MAX_LINE_BYTES + 1), "is longer than"),
        (A + b"  x\n" + B + b"  x\n", "comes twice, with different values"),
        (A + b"  x\n" + B + b"  ./x\n", "comes twice, with different values"),
        (A + b"  x\n" + b"c" * 32 + b"  y\n", "has not the same algorithms"),
        (A + b"  x\n" + A + b"  x/y\n", "listed as no directory"),
        (b"\\" + A + b"  a\\tb\n", "no escape of a checksum list"),
        (b"\\" + A + b"  a\\\n", "no escape of a checksum list"),
        (b"MD4 (x) = " + A[:32] + b"\n", "no value of any known algorithm"),
        (b"SHA256 (x) = " + A[:62] + b"\n", "62 hex digits are no value"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(text: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert said in str(caught.value)


def test_a_line_that_comes_again_counts_once() -> None:
    assert list(files(read(A + b"  x\n" + A + b"  ./x\n"))) == [b"/x"]


def test_a_list_without_a_last_line_end_is_read_and_said() -> None:
    found = read(A + b"  x\n" + B + b"  cut")
    assert list(files(found)) == [b"/cut", b"/x"]
    assert any("the last line has no end" in note for note in found.losses.notes)
    assert not read(A + b"  x\n").losses.notes


def test_lists_of_several_algorithms_of_one_tree_are_put_together() -> None:
    for found in (read(A + b"  x\n", b"c" * 32 + b"  ./x\n"), read(A + b"  x\n" + b"c" * 32 + b"  x\n")):
        (entry,) = files(found).values()
        assert entry.digest is not None
        assert (entry.digest.algorithm, [digest.algorithm for digest in entry.further]) == ("sha256", ["md5"])
        assert found.baseline.stated.aspects == {Aspect.CONTENT}


@pytest.mark.parametrize("algorithm", SIZES)
def test_every_algorithm_is_named_by_its_length_or_by_the_caller(algorithm: str) -> None:
    text = b"0" * (2 * SIZES[algorithm]) + b"  x\n"
    by_length = BY_LENGTH[2 * SIZES[algorithm]]
    (entry,) = files(read(text)).values()
    assert [d.algorithm for d in (entry.digest, *entry.further) if d] == [by_length]
    (entry,) = files(read(text, algorithms=(algorithm,))).values()
    assert [d.algorithm for d in (entry.digest, *entry.further) if d] == [algorithm]
    assert (entry.digest is None) == (algorithm in WEAK)


def test_a_value_of_another_length_than_the_named_algorithm_is_refused() -> None:
    with pytest.raises(InputError, match="64 hex digits are no value of md5"):
        read(A + b"  x\n", algorithms=("md5",))
    with pytest.raises(InputError, match="is by sha256, not sha512"):
        read(b"SHA256 (x) = " + A + b"\n", algorithms=("sha512",))


def test_lists_with_nul_ends_are_not_escaped_and_may_hold_line_breaks() -> None:
    assert list(files(read(A + b"  a\nb\0" + A + b"  c\r\0" + A + b"  d\\n\0", zero=True))) == [b"/a\nb", b"/c\r", b"/d\\n"]
    with pytest.raises(InputError, match="escaped"):
        read(b"\\" + A + b"  x\0", zero=True)
    with pytest.raises(InputError, match="NUL"):
        read(A + b"  x\0" + A + b"  y\0")


def test_the_place_of_the_tree_is_taken_off_every_path() -> None:
    assert list(files(read(A + b"  /mnt/image/etc/passwd\n", strip=b"/mnt/image"))) == [b"/etc/passwd"]
    for path in (b"/mnt/other", b"/mnt/image2/x", b"etc/passwd"):
        with pytest.raises(InputError, match="is not below"):
            read(A + b"  " + path + b"\n", strip=b"/mnt/image")


def test_a_list_of_a_part_of_the_tree_says_nothing_of_the_rest() -> None:
    found = read(A + b"  /etc/passwd\n", below=(b"/etc", b"/usr"))
    assert found.baseline.stated.reaches(b"/usr/bin/x")
    assert not found.baseline.stated.reaches(b"/etcetera")
    with pytest.raises(InputError, match="below none of the named directories"):
        read(A + b"  /srv/x\n", below=(b"/etc",))


def test_a_million_lines_are_read_in_bounded_memory() -> None:
    lines = (b"%064x  ./usr/share/some/where/d%d/file-%d\n" % (number, number % 1000, number) for number in range(1_000_000))
    text = b"".join(islice(lines, None))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read(text)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(found.baseline.layers[0]) == 1_000_000 + 1000 + 5
    assert grown < 1_200_000, f"{grown} kB more"
