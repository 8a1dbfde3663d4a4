"""Where the image's own links lead from places that are obeyed: what is put there is put into those places.

In: a baseline, paths. Out: the other names that a path has by links of the image in `/etc` and in homes; remembers what an image's are.
Pure. A link that leads to where state is kept, as `/etc/resolv.conf` does, gives no other name unless accounts, keys or what starts by
itself are looked for there.
"""

from __future__ import annotations

from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.layer import Baseline
from intact.model.resolve import resolve

from . import places

_FROM = (b"/etc", b"/root", b"/home", b"/usr/local/etc", b"/var/spool")
_STATE = (b"/run", b"/dev", b"/proc", b"/sys", b"/var/run", b"/var/log")
_MOST_READ = 50_000
"""Entries of an image read for its links."""
_MOST_IMAGES = 64

Leads = tuple[tuple[bytes, bytes], ...]
"""(where a link leads, the link)."""
_found: dict[Digest, Leads] = {}


def find_leads(baseline: Baseline) -> Leads:
    """The links of `baseline` that make another place one that is obeyed."""
    root = baseline.root
    if root not in _found:
        if len(_found) >= _MOST_IMAGES:
            _found.clear()
        _found[root] = _read_leads(baseline)
    return _found[root]


def name_through(leads: Leads, path: bytes) -> tuple[bytes, ...]:
    """The names that `path` has through links of the image."""
    return tuple(link + path[len(end) :] for end, link in leads if path.startswith(end) and path[len(end) : len(end) + 1] in (b"", b"/"))


def _read_leads(baseline: Baseline) -> Leads:
    leads: list[tuple[bytes, bytes]] = []
    left = _MOST_READ
    for directory in _FROM:
        for entry in baseline.scan(directory):
            left -= 1
            if left < 0:
                return tuple(leads)
            if entry.kind is Kind.SYMLINK and (end := resolve(entry.path, baseline.find)) is not None and _matters(entry, end):
                leads.append((end, entry.path))
    return tuple(leads)


def _matters(link: Entry, end: bytes) -> bool:
    if end == b"/" or places.is_credential(end) or places.is_autostart(end) or places.is_system_place(end) or places.is_configuration(end):
        return False
    if places.is_credential(link.path) or places.is_autostart(link.path) or places.is_leading_link(link.path):
        return not end.startswith((b"/dev/", b"/proc/", b"/sys/"))
    if any(end == one or end.startswith(one + b"/") for one in _STATE):
        return False
    return places.is_configuration(link.path)
