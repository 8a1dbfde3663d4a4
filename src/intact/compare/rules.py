"""The default rules: what a difference means before any policy. One table, cited by documentation and command line.

`Judge.consider` gives a difference the first rule that speaks, or silence with a name. The rules look at paths, kinds, modes, at what the
image holds nearby, and at whether a file begins as code does; never at who did it. They were measured on stock services: what those do in
a normal life is silent here, and still counted; what the plan raises of that is told at the plan's level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from intact.model.derivation import Derivation, Proof
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change, Difference, Level
from intact.model.layer import Baseline
from intact.model.observation import Scope
from intact.model.resolve import resolve

from . import places
from .led import Leads, find_leads, name_through
from .nearby import Nearby
from .raised import NEVER_RAISED, Raised


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One default rule: `levels` are those it may give, empty for a rule that is silent and only counts, unless the plan raises it."""

    id: str
    levels: tuple[Level, ...]
    sentence: str


_HIGH_CRITICAL = (Level.HIGH, Level.CRITICAL)
_MEDIUM_HIGH = (Level.MEDIUM, Level.HIGH)

RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule(
            id="read-only-layer-changed",
            levels=(Level.HIGH,),
            sentence="A read-only layer on the node's disk is not the layer of the image: every container that uses it runs other files.",
        ),
        Rule(
            id="privilege-bits",
            levels=_HIGH_CRITICAL,
            sentence="An added or changed regular file has set-user-ID, set-group-ID or file capabilities: it runs with other rights"
            " than its caller's.",
        ),
        Rule(
            id="device-node-added",
            levels=(Level.HIGH,),
            sentence="A device node that the image does not have: a way to a disk or a device past its file's permissions.",
        ),
        Rule(
            id="runtime-stub",
            levels=(),
            sentence="An empty file or directory at a mount target of the container's own configuration, or a directory above one: made by"
            " the runtime.",
        ),
        Rule(
            id="image-log-changed",
            levels=(),
            sentence="A log file that came with the image was written, rotated or removed; it has no execute bit and is not called code.",
        ),
        Rule(
            id="image-directory-metadata",
            levels=(),
            sentence="Mode or owner of an image directory changed that holds neither code nor credentials.",
        ),
        Rule(
            id="image-file-changed",
            levels=_MEDIUM_HIGH,
            sentence="A path of the image was changed, replaced, removed, or got another mode or owner; High for programs, libraries, code,"
            " credentials and what starts by itself.",
        ),
        Rule(
            id="control-file-added",
            levels=_MEDIUM_HIGH,
            sentence="A file was added that controls the system: configuration, accounts, keys, trust, scheduled or autoloaded code,"
            " anything in a directory of programs or libraries.",
        ),
        Rule(
            id="derived-from-image",
            levels=(),
            sentence="A code-like file was added that holds nothing but the image: a bytecode cache that equals a recompile of the image's"
            " source, or the bytes of a member of an archive in the image.",
        ),
        Rule(
            id="bytecode-forged",
            levels=(Level.HIGH,),
            sentence="A Python bytecode cache of a source file of the image was added that is not what this source compiles to.",
        ),
        Rule(
            id="bytecode-cache-added",
            levels=(Level.LOW,),
            sentence="A Python bytecode cache of a source file of the image was added; whether it equals a recompile could not be"
            " established.",
        ),
        Rule(
            id="code-added",
            levels=_MEDIUM_HIGH,
            sentence="A code-like file, or a link, was added where the image itself keeps code: a web shell, a module, a program.",
        ),
        Rule(
            id="code-in-scratch",
            levels=(),
            sentence="A code-like file was added in a directory in which the image holds no code.",
        ),
        Rule(
            id="data-added",
            levels=(),
            sentence="Anything else that was added: data, sockets, pid files, caches.",
        ),
    )
}
"""By id, in the order in which they are asked."""

DERIVABLE = frozenset({"code-added", "bytecode-cache-added", "code-in-scratch", "data-added"})
"""Rules that ask where a file comes from, before they tell of it."""
_BY_PLACE = frozenset({"data-added", "code-in-scratch", "code-added", "image-file-changed"})
"""Rules whose word depends on the place alone: another name of the place can give another word."""
_OF_PLACES = frozenset({"control-file-added", "image-file-changed"})


@dataclass(frozen=True, slots=True)
class Spoken:
    """A rule's word: a finding at `level`, or silence where `level` is None."""

    rule: str
    level: Level | None


@dataclass(slots=True)
class Judge:
    """Considers the differences of one look; remembers what directories of the image hold. `targets`: where the container's configuration
    mounts; `runnable`: the added files whose first bytes are those of code; `derivations`: what is known of where added files come from,
    by path; `raised`: what is told besides."""

    baseline: Baseline
    scope: Scope
    targets: Iterable[bytes] = ()
    runnable: frozenset[bytes] = frozenset()
    derivations: Mapping[bytes, Derivation] = field(default_factory=dict)
    raised: Raised = field(default_factory=Raised)
    nearby: Nearby = field(init=False)
    _leads: Leads = field(init=False)
    _stubs: frozenset[bytes] | None = None

    def __post_init__(self) -> None:
        self.nearby = Nearby(self.baseline)
        self._leads = () if self.scope is Scope.LAYERS else find_leads(self.baseline)

    def consider(self, difference: Difference) -> Spoken:
        """The first rule of `RULES` that speaks for `difference`, at the plan's level where it would only count. An `Unread` one must not
        come here."""
        spoken = self._apply_rules_by_name(difference)
        if spoken.level is not None or spoken.rule in NEVER_RAISED or not self.raised.levels:
            return spoken
        entry = difference.actual or difference.expected
        level = self.raised.find(difference.path, difference.change, directory=entry is not None and entry.kind is Kind.DIRECTORY)
        if level is None:
            return spoken
        raised = Spoken(spoken.rule, level)
        return self._weigh(difference.actual, raised) if difference.change is Change.ADDED and difference.actual is not None else raised

    def _apply_rules_by_name(self, difference: Difference) -> Spoken:
        """By its own place, or by one that a link of the image makes it, if that is graver."""
        spoken = self._apply_rules(difference)
        if spoken.rule not in _BY_PLACE or not self._leads:
            return spoken
        for name in name_through(self._leads, difference.path):
            other = self._apply_rules(_rename(difference, name))
            if other.rule in _OF_PLACES and (other.level or 0) > (spoken.level or 0):
                spoken = other
        return spoken

    def _apply_rules(self, difference: Difference) -> Spoken:
        expected, actual = difference.expected, difference.actual
        if self.scope is Scope.LAYERS:
            return Spoken("read-only-layer-changed", Level.HIGH)
        if actual is not None and places.grants_privilege(actual):
            is_root = places.has_capabilities(actual) or (bool(actual.mode & 0o4000) and actual.uid == 0)
            return Spoken("privilege-bits", Level.CRITICAL if is_root else Level.HIGH)
        if actual is not None and actual.kind in (Kind.CHAR, Kind.BLOCK) and difference.change in (Change.ADDED, Change.TYPE):
            return Spoken("device-node-added", Level.HIGH)
        if expected is not None:
            return self._consider_image_path(difference, expected)
        if actual is None:
            return Spoken("data-added", None)
        return self._consider_added(actual)

    def _consider_image_path(self, difference: Difference, expected: Entry) -> Spoken:
        path, actual = difference.path, difference.actual
        if places.is_log(path) and not _runs(expected) and (actual is None or _is_like_a_log(expected, actual)):
            return Spoken("image-log-changed", None)
        if expected.kind is Kind.DIRECTORY and difference.change is Change.METADATA and not self._guards(expected, actual):
            return Spoken("image-directory-metadata", None)
        return Spoken("image-file-changed", Level.HIGH if self._is_grave(difference, expected) else Level.MEDIUM)

    def _is_grave(self, difference: Difference, expected: Entry) -> bool:
        path, actual = difference.path, difference.actual
        is_sensitive = places.is_credential(path) or places.is_autostart(path)
        is_program = expected.kind is not Kind.DIRECTORY and (
            _runs(expected) or places.is_code_like(expected) or (expected.kind is Kind.SYMLINK and places.is_system_place(path))
        )
        if difference.change is Change.METADATA:
            gained = (actual.mode & ~expected.mode) if actual is not None else 0
            return is_sensitive or bool(expected.kind is Kind.FILE and gained & 0o111) or bool(is_program and gained & 0o002)
        return is_sensitive or is_program or _runs(actual)

    def _guards(self, expected: Entry, actual: Entry | None) -> bool:
        """Whether who may write in the directory matters: code or credentials are in it or below it, or will be looked for there; or all
        may write in it, and may now also take away and replace what is others' (the sticky bit, inode(7))."""
        directory = expected.path
        if directory == b"/":  # its owner may put another directory in the place of any in it
            return actual is not None and (bool(actual.mode & 0o022) or (actual.uid, actual.gid) != (expected.uid, expected.gid))
        if actual is not None and expected.mode & 0o1000 and not actual.mode & 0o1000 and actual.mode & 0o002:
            return True
        inside = directory + b"/x"
        if places.is_configuration(inside) or places.is_system_place(inside) or places.is_credential(inside) or places.is_autostart(inside):
            return True
        return directory == b"/root" or self.nearby.guards_anything(directory)

    def _consider_added(self, entry: Entry) -> Spoken:
        path = entry.path
        is_empty = entry.kind is Kind.DIRECTORY or (entry.kind is Kind.FILE and entry.size_bytes == 0)
        if is_empty and self._is_stub(path):
            return Spoken("runtime-stub", None)
        if entry.kind is Kind.SOCKET and self._answers_for_accounts(path):
            return Spoken("control-file-added", Level.HIGH)
        if entry.kind not in (Kind.FILE, Kind.SYMLINK, Kind.FIFO):
            return Spoken("data-added", None)
        is_code = places.is_code_like(entry) or path in self.runnable or places.is_bare_module(path)
        if places.is_credential(path) or places.is_autostart(path):
            return Spoken("control-file-added", Level.HIGH)
        if entry.kind is Kind.SYMLINK and places.is_leading_link(path):
            return Spoken("control-file-added", Level.HIGH)
        if entry.kind is Kind.FIFO:  # elsewhere it is how processes speak to each other
            if places.is_configuration(path) or places.is_system_place(path):
                return Spoken("control-file-added", Level.MEDIUM)
            is_called = is_code or places.is_code_name(path) or self.nearby.is_taken_first(path)
            is_loaded = is_called and (places.is_loaded_place(path) or self.nearby.is_beside_code(path))
            return Spoken("code-added", Level.HIGH) if is_loaded else Spoken("data-added", None)
        if entry.kind is Kind.FILE and not entry.mode & 0o111 and self._is_bytecode_of_image(places.finished_cache(path) or b""):
            return Spoken("data-added", None)
        if is_code and self._is_bytecode_of_image(path):
            return self._weigh(entry, Spoken("bytecode-cache-added", Level.LOW))
        if places.is_system_place(path):
            return Spoken("control-file-added", Level.HIGH if is_code or entry.kind is Kind.SYMLINK else Level.MEDIUM)
        if is_code and places.is_deployed_place(path):
            return self._weigh(entry, Spoken("code-added", Level.HIGH))
        if is_code and places.is_loaded_place(path):
            return Spoken("control-file-added", Level.HIGH)
        if entry.kind is Kind.SYMLINK and places.is_configuration(path + b"/x"):  # a directory of it elsewhere
            return Spoken("control-file-added", Level.MEDIUM)
        if places.is_configuration(path) or self.nearby.is_static(path) or self.nearby.is_configured(path):
            return Spoken("control-file-added", Level.HIGH if is_code else Level.MEDIUM)
        if self.nearby.is_kindred(path) or self.nearby.is_taken_first(path):
            return self._weigh(entry, Spoken("code-added", Level.HIGH))
        if is_code or places.is_served_name(path):
            is_beside = self.nearby.is_beside_code(path) or self.nearby.is_beside_assets(path)
            return self._weigh(entry, Spoken("code-added", Level.HIGH)) if is_beside else Spoken("code-in-scratch", None)
        if entry.kind is Kind.SYMLINK and self.nearby.is_beside_code(path):
            return Spoken("code-added", Level.MEDIUM)
        return Spoken("data-added", None)

    def _answers_for_accounts(self, path: bytes) -> bool:
        """Whether every program asks whoever listens at `path` who has which account, before it asks files (nscd(8)). Not where the image
        has the program whose socket it is."""
        return path in places.ACCOUNT_SOCKETS and not any(self.baseline.find(one) for one in (b"/usr/sbin/nscd", b"/usr/bin/nscd"))

    def _weigh(self, entry: Entry, otherwise: Spoken) -> Spoken:
        """What is said of code whose origin may be known."""
        derivation = self.derivations.get(entry.path) if entry.kind is Kind.FILE else None
        match derivation.proof if derivation is not None else Proof.UNKNOWN:
            case Proof.DERIVED:
                return Spoken("derived-from-image", None)
            case Proof.FORGED:
                return Spoken("bytecode-forged", Level.HIGH)
            case Proof.UNKNOWN:
                return otherwise

    def _is_stub(self, path: bytes) -> bool:
        if self._stubs is None:  # some dozens of lookups, and few looks see anything empty
            self._stubs = resolve_stubs(self.targets, self.baseline.find)
        return path in self._stubs

    def _is_bytecode_of_image(self, path: bytes) -> bool:
        source = places.cached_source(path)
        return source is not None and self.baseline.find(source) is not None


def resolve_stubs(targets: Iterable[bytes], find: Callable[[bytes], Entry | None]) -> frozenset[bytes]:
    """The mount targets and the directories above them, links followed as in the image: `/var/run/secrets` is `/run/secrets`."""
    stubs: set[bytes] = set()
    for target in targets:
        resolved = resolve(target, find)
        if resolved is not None and resolved != b"/":
            stubs.add(resolved)
            stubs.update(ancestors(resolved))
    return frozenset(stubs - {b"/"})


def _rename(difference: Difference, path: bytes) -> Difference:
    expected, actual = (None if one is None else replace(one, path=path) for one in (difference.expected, difference.actual))
    return replace(difference, path=path, expected=expected, actual=actual)


def _runs(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.FILE and bool(entry.mode & 0o111)


def _is_like_a_log(expected: Entry, actual: Entry) -> bool:
    """Whether rotation can leave `actual` where `expected` was: also a file in place of a link, never what can be run."""
    return not _runs(actual) and (actual.kind is expected.kind or (expected.kind is Kind.SYMLINK and actual.kind is Kind.FILE))
