"""Which watched directory an event belongs to, and what of it has to be looked at."""

from intact.observe.doorbell import LARGEST_SET, Place, RingBook, WorkPlace

UPPER = b"/s/1/fs"


def book() -> RingBook:
    book = RingBook()
    book.watch([UPPER, b"/s/10/fs"])
    return book


def test_a_path_belongs_to_the_directory_it_is_below() -> None:
    assert book().place(b"/s/1/fs/etc/conf") == Place(UPPER, b"/etc/conf")
    assert book().place(b"/s/1/fs") == Place(UPPER, b"/")
    assert book().place(b"/s/10/fs/x") == Place(b"/s/10/fs", b"/x")
    assert book().place(b"/s/1/fsx/etc") is None
    assert book().place(b"/home/x") is None
    assert book().place(b"(unreachable)/x") is None
    assert book().place(b"/s/1/work/work/#3") == WorkPlace(UPPER)


def test_marks_are_taken_once() -> None:
    rings = book()
    rings.mark(UPPER, b"/a")
    rings.mark(UPPER, b"/d", with_below=True)
    assert rings.take().dirty == {UPPER: frozenset({b"/a", b"/d/"})}
    assert not rings and rings.take().dirty == {}


def test_too_many_paths_or_the_root_are_the_whole() -> None:
    rings = book()
    for number in range(LARGEST_SET + 5):
        rings.mark(UPPER, b"/%d" % number)
    rings.mark(b"/s/10/fs", b"/")
    assert rings.take().dirty == {UPPER: None, b"/s/10/fs": None}


def test_lost_events_are_counted() -> None:
    rings = book()
    rings.mark_everything()
    rings.mark_everything()
    taken = rings.take()
    assert (taken.overflowed, taken.lost) == (True, 2)
    assert not rings.take().overflowed


def test_a_writer_is_asked_for_once_a_path() -> None:
    rings = book()
    asked: list[int] = []
    for _ in range(3):
        rings.sign(UPPER, b"/a", lambda: asked.append(1))
    assert rings.take().writers == {UPPER: {b"/a": None}} and asked == [1]


def test_a_forgotten_directory_takes_its_marks_along() -> None:
    rings = book()
    rings.mark(UPPER, b"/a")
    rings.forget([UPPER])
    assert rings.take().dirty == {} and rings.place(b"/s/1/fs/a") is None


def test_what_was_executed_is_told_once_and_a_flood_of_it_counts_as_lost() -> None:
    book = RingBook()
    book.watch([b"/s/1/fs"])
    book.note_execution(b"/s/1/fs", b"/x", lambda: None)
    book.note_execution(b"/s/1/fs", b"/x", lambda: None)
    assert book
    rings = book.take()
    assert rings.executed == {b"/s/1/fs": {b"/x": None}} and not rings.dirty and not rings.overflowed
    for number in range(LARGEST_SET + 1):
        book.note_execution(b"/s/1/fs", b"/%d" % number, lambda: None)
    assert book.take().overflowed
    book.note_execution(b"/s/1/fs", b"/x", lambda: None)
    book.forget([b"/s/1/fs"])
    assert not book
