"""What must not be shown of a text: secrets, line by line, before anybody reads a difference.

In: the lines of a file, and its path. Out: as many lines, with `[redacted]` where a secret stands. It hides too much rather than too
little, and promises nothing: a secret that looks like nothing is shown. Never changes the number of lines, and reads no line further than
it will be shown.

1. A file that is kept where credentials are is hidden as a whole, except those that everybody may read anyway (`/etc/passwd`, …).
2. Between the lines that begin and end a private key everything is hidden, and so is a YAML block that a secret's name introduces.
3. The value after a name that speaks of a secret is hidden: `name=value`, `name: value`, `"name": "value"`, `<name>value`, `--name value`.
4. What looks like a token, a password hash, a URL's password or a long random word is hidden wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import places

REDACTED = b"[redacted]"
LINE_BYTES = 2000
"""No more of a line is read, or shown."""

_PUBLIC = re.compile(
    rb"/etc/(?:(?:passwd|group|subuid|subgid)-?|nsswitch\.conf|pam\.d/.*|pam\.conf|security/.*|sudoers(?:\.d/.*)?|doas\.conf|krb5\.conf"
    rb"|hosts\.(?:equiv|allow|deny)|polkit-1/.*|ca-certificates.*|ssl/(?:certs/.*|openssl\.cnf)|ssh/(?:sshd?_config(?:\.d/.*)?|moduli|.*\.pub))"
    rb"|/usr/(?:local/)?share/ca-certificates/.*",
    re.DOTALL,
)
_KEEPS_SECRETS = re.compile(
    rb".*(?:\.(?:pem|key|p12|pfx|jks|keystore|kdbx|keytab|ppk|asc|gpg)|/id_(?:rsa|dsa|ecdsa|ed25519)[^/]*|/\.vault-token|/\.git-credentials"
    rb"|/\.npmrc|/\.pypirc|/\.env(?:\.[^/]*)?)|(?:/var)?/run/secrets/.*|/etc/(?:opasswd|security/opasswd)",
    re.DOTALL | re.IGNORECASE,
)
_NAME = (
    rb"(?:pass(?:wd|word|phrase|code)?|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|signing[_-]?key"
    rb"|encryption[_-]?key|master[_-]?key|account[_-]?key|auth[_-]?key|license[_-]?key|credentials?|authorization|cookie|session[_-]?id|dsn"
    rb"|connection[_-]?string|requirepass|masterauth|bearer|client[_-]?key[_-]?data|(?<![a-z])(?:salt|seed|pin|psk)(?![a-z]))"
)
_NAMED = re.compile(
    _NAME + rb"[\w.-]{0,40}[\"'\])]{0,3}[ \t]{0,8}(?:=>|:=|[:=,>])[ \t]{0,8}"
    rb"(?P<value>\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[^\s<][^<]*)",
    re.IGNORECASE,
)
_SPACED = re.compile(rb"(?:^[ \t]*+|(?<!-)--?+)(?:[\w.]{0,40}?)" + _NAME + rb"[\w.-]{0,40}[ \t]{1,8}(?P<value>\S[^\n]*)", re.IGNORECASE)
_OPTION = re.compile(rb"--?[\w.-]{0,40}?" + _NAME + rb"[\w.-]{0,40}", re.IGNORECASE)
_BLOCK = re.compile(rb"^(?P<indent>[ \t-]*+)[^\s:]{0,60}?" + _NAME + rb"[\w.-]{0,40}[\"']?[ \t]*:[ \t]*[|>][-+0-9]*[ \t]*$", re.IGNORECASE)
_ANYWHERE = re.compile(
    rb"eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"  # RFC 7519
    rb"|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{16,}|github_pat_\w{16,}|gl(?:pat|ptt|dt)-[\w-]{16,}|xox[a-z]-[\w-]{8,}|[sr]k_(?:live|test)_\w{8,}"
    rb"|\bsk-[\w-]{16,}|AIza[\w-]{30,}|npm_\w{20,}|pypi-[\w-]{20,}|dckr_pat_[\w-]{8,}|hv[sb]\.[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}|ya29\.[\w-]{16,}"
    rb"|\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|apr1|argon2id?|argon2i|scrypt|pbkdf2[\w-]{0,16})\$[^\s:\"']{8,}"  # crypt(5)
    rb"|(?<=://)[^\s/@:]{0,100}:[^\s/@]{1,200}(?=@)"  # RFC 3986, userinfo
    rb"|(?<=[Bb]asic )[A-Za-z0-9+/=_-]{8,}|(?<=[Bb]earer )[\w.~+/=-]{8,}",
)
_WORD = re.compile(rb"[A-Za-z0-9+/_-]{36,}={0,2}")
_KEY_BEGINS, _KEY_ENDS = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"), re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY")


def is_hidden_as_a_whole(path: bytes) -> bool:
    """1. Whether nothing of the content of `path` is to be shown."""
    if _KEEPS_SECRETS.fullmatch(path):
        return True
    return places.is_credential(path) and not _PUBLIC.fullmatch(path)


def redact(lines: Sequence[bytes]) -> list[bytes]:
    """2, 3, 4. `lines` without their secrets, each cut to `LINE_BYTES`."""
    shown = []
    is_key = False
    block: int | None = None
    for whole in lines:
        line = whole[:LINE_BYTES]
        if is_key:
            is_key = not _KEY_ENDS.search(line)
            shown.append(REDACTED)
            continue
        if block is not None:
            if not line.strip() or _indent(line) > block:
                shown.append(REDACTED if line.strip() else line)
                continue
            block = None
        if _KEY_BEGINS.search(line):
            is_key = not _KEY_ENDS.search(line)
            shown.append(REDACTED)
            continue
        if found := _BLOCK.match(line):
            block = len(found["indent"])
        shown.append(_redact_line(line))
    return shown


def redact_arguments(arguments: Sequence[bytes]) -> tuple[bytes, ...]:
    """The arguments of a process without what follows an option that speaks of a secret, and without what looks like one."""
    shown = redact(arguments)
    return tuple(
        REDACTED if index and _OPTION.fullmatch(arguments[index - 1]) else argument for index, argument in enumerate(shown)
    )  # fmt: skip


def _redact_line(line: bytes) -> bytes:
    line = _NAMED.sub(_without_value, line)
    line = _SPACED.sub(_without_value, line)
    line = _ANYWHERE.sub(REDACTED, line)
    return _WORD.sub(lambda found: REDACTED if _is_random(found[0]) else found[0], line)


def _without_value(found: re.Match[bytes]) -> bytes:
    value = found["value"]
    if value.startswith(REDACTED) or value.rstrip() in (b"|", b">", b"|-", b">-", b"{", b"[", b"null", b"true", b"false", b'""', b"''"):
        return found[0]
    before = found[0][: found.start("value") - found.start()]
    quote = value[:1] if value[:1] in (b'"', b"'") else b""
    return before + quote + REDACTED + quote


def _is_random(word: bytes) -> bool:
    """A long word of upper case, lower case and digits that is no path; hex alone is a digest or an id, which people need to see."""
    kinds = (re.search(rb"[a-z]", word), re.search(rb"[A-Z]", word), re.search(rb"[0-9]", word))
    return all(kinds) and word.count(b"/") * 12 <= len(word)


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))
