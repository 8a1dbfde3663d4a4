"""What must not be shown of a text: secrets, line by line, before anybody reads a difference.

In: the lines of a file, and its path. Out: as many lines, with `[redacted]` where a secret stands. It hides too much rather than too
little, and promises nothing: a secret that looks like nothing is shown. Never changes the number of lines, and reads no line further than
it will be shown.

1. A file that is kept where credentials are is hidden as a whole, except those that everybody may read anyway (`/etc/passwd`, …): of
   these the words that name a secret are the words of their language (`NOPASSWD: ALL`, `passwd: files`), and 3 is left out.
2. Between the lines that begin and end a private key everything is hidden, and so is a block, or a value on lines of its own, that a
   secret's name introduces.
3. The value after a name that speaks of a secret is hidden: `name=value`, `name: value`, `"name": "value"`, `<name>value`, `--name value`,
   `name="name" value="value"`; and what programs take as a password behind a short option (`curl -u user:value`).
4. What looks like a token, a password hash, a URL's password or a long random word is hidden wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

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
    rb".*(?:\.(?:pem|key|p8|p12|pfx|jks|keystore|kdbx|keytab|ppk|asc|gpg|ovpn|kubeconfig|tfstate|tfvars)|/id_(?:rsa|dsa|ecdsa|ed25519)[^/]*"
    rb"|/\.vault-token|/\.git-credentials|/\.npmrc|/\.pypirc|/\.s3cfg|/\.boto|/\.envrc|/\.flaskenv|/\.erlang\.cookie|/[^/]*\.env(?:\.[^/]*)?"
    rb"|/[^/]*htpasswd[^/]*|/(?:[^/]*[._-])?(?:secrets?|credentials?)(?:\.(?:ya?ml|json|toml|ini|conf|properties|xml|txt|php))?"
    rb"|/\.config/gcloud/.*|/\.azure/.*|/rclone\.conf)|(?:/var)?/run/secrets/.*|/etc/(?:opasswd|security/opasswd)",
    re.DOTALL | re.IGNORECASE,
)
_NAME = (
    rb"(?:(?<!no)(?<!by)(?<!com)(?<!proxy)(?<!proxy_)(?<!fastcgi_)(?<!uwsgi_)(?<!scgi_)(?<!grpc_)(?<!memcached_)"
    rb"pass(?:wd|word|phrase|code|(?![a-z]))|pwd|secret|(?<!server)(?<!server_)token"
    rb"|(?:api|app|access|secret|private|signing|encryption|master|account|auth|license|shared|nonce|hmac|jwt|logged[_-]?in)[_-]?key"
    rb"|credentials?|authorization|cookie|session[_-]?id|dsn|connection[_-]?string|requirepass|masterauth|bearer|client[_-]?key[_-]?data"
    rb"|identified[ \t]{1,8}by|(?<![a-z])(?:salt|seed|pin|psk|sig|signature)(?![a-z])|(?<![\w-])auth(?![\w-]))"
)
_CLOSING = rb"[\w.-]{0,40}[\\\"'\])]{0,4}[ \t]{0,8}"
"""What may stand between a name and what separates it from its value."""
_VALUE = rb"(?P<value>\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[^\s<][^<]*)"
_NAMED = re.compile(_NAME + _CLOSING + rb"(?:=>|:=|[:=,>])[ \t]{0,8}" + _VALUE, re.IGNORECASE)
_OF_VALUE = rb"[\\\"']{0,4}(?:value|val|content|default)[\\\"']{0,4}[ \t]{0,8}(?:=>|[:=])[ \t]{0,8}"
_PAIRED = re.compile(_NAME + rb"[\w.-]{0,40}[\\\"']{0,4}[ \t,;](?:[^<>{}\n]{0,80}?[ \t,;])??" + _OF_VALUE + _VALUE, re.IGNORECASE)
_SPACED = re.compile(rb"(?:^[ \t]*+|(?<!-)--?+)(?:[\w.]{0,40}?)" + _NAME + rb"[\w.-]{0,40}[ \t]{1,8}(?P<value>\S[^\n]*)", re.IGNORECASE)
_QUOTED = re.compile(_NAME + rb"[ \t]{1,8}(?P<value>'[^'\n]+'?|\"[^\"\n]+\"?)", re.IGNORECASE)
_OPTION = re.compile(rb"--?[\w.-]{0,40}?" + _NAME + rb"[\w.-]{0,40}", re.IGNORECASE)
_SHORT = re.compile(
    rb"(?<![\w.-])(?:(?:curl|wget|http)\b[^\n|;&]{0,300}?[ \t](?:-[uU]|--(?:proxy-)?user|-a)[ \t=]{0,4}[\"']?[^\s:\"']{1,100}:"
    rb"|(?:sshpass|mongo\w*|podman|docker)\b[^\n|;&]{0,300}?[ \t]-p[ \t]{0,4}|(?:mysql\w*|mariadb\w*|7z\w?)\b[^\n|;&]{0,300}?[ \t]-p"
    rb"|redis-cli\b[^\n|;&]{0,300}?[ \t]-a[ \t]{1,4}|(?:unzip|zip|mosquitto_\w+)\b[^\n|;&]{0,300}?[ \t]-P[ \t]{1,4}"
    rb"|ldap\w+\b[^\n|;&]{0,300}?[ \t]-w[ \t]{0,4}|smbclient\b[^\n|;&]{0,300}?[ \t]-U[ \t]{0,4}[^\s%]{1,100}%)(?P<value>[^\s\"']+)"
)
_CHANGED = re.compile(rb":(?P<value>[^\s:|]+)(?=[ \t]{0,4}\|[^\n]{0,40}\bchpasswd\b)")
"""`echo root:… | chpasswd`."""
_KEY = rb"^(?P<indent>[ \t-]*+)(?:export[ \t]{1,8})?[\"']?[\w.-]{0,60}?" + _NAME + rb"[\w.-]{0,40}[\"']?[ \t]{0,8}(?:=>|[:=])[ \t]*+"
_BLOCK = re.compile(_KEY + rb"[|>][-+0-9]*[ \t]*$", re.IGNORECASE)
_LONG = re.compile(_KEY + rb"(?P<quotes>\"\"\"|''')(?!.*(?P=quotes))", re.IGNORECASE)
_OPEN = re.compile(_KEY + rb"\\?$|^(?P<tag>[ \t]*+)<[\w:.-]{0,60}?" + _NAME + rb"[^<>\n]{0,100}>[ \t]*$", re.IGNORECASE)
_OTHER = re.compile(rb"[ \t]*(?:- +)?[\"']?[\w.-]{1,80}[\"']?[ \t]*(?::(?:[ \t]|$)|=)|[ \t]*(?:[<}\])#]|$)")
"""A line that is no value but says something else."""
_FIRST = re.compile(
    rb"^[ \t-]*[\"']?(?:name|key|id|variable|env)[\"']?[ \t]*[:=][ \t]*[\"']?[\w.-]{0,60}?"
    + _NAME
    + rb"[\w.-]{0,40}[\"']?[ \t]*[,;]?[ \t]*$",
    re.IGNORECASE,
)
_SECOND = re.compile(rb"^(?P<indent>[ \t-]*+)" + _OF_VALUE + rb"(?P<value>.*)$", re.IGNORECASE | re.DOTALL)
_ANYWHERE = re.compile(
    rb"eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"  # RFC 7519
    rb"|(?:AKIA|ASIA)[0-9A-Z]{16}|LTAI\w{12,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|gl(?:pat|ptt|dt|sa)[-_][\w-]{16,}|x(?:ox[a-z]|app)-[\w-]{8,}"
    rb"|[sr]k_(?:live|test)_\w{8,}|whsec_\w{8,}|\bsk-[\w-]{16,}|AIza[\w-]{30,}|npm_\w{20,}|pypi-[\w-]{20,}|dckr_pat_[\w-]{8,}|hv[sb]\.[\w-]{16,}"
    rb"|SG\.[\w-]{16,}\.[\w-]{16,}|ya29\.[\w-]{16,}|hf_\w{16,}|do[opr]_v1_\w{16,}|shp[a-z]{2}_\w{16,}|sq0[a-z]{3}-[\w-]{16,}|AGE-SECRET-KEY-1\w+"
    rb"|\b\d{8,10}:[\w-]{35}\b|\bSK[0-9a-f]{32}\b|\bkey-[0-9a-f]{32}\b|(?<=hooks\.slack\.com/)[^\s\"']{8,}|(?<=/api/webhooks/)[^\s\"']{8,}"
    rb"|\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|apr1|argon2id?|argon2i|scrypt|pbkdf2[\w-]{0,16})\$[^\s:\"']{8,}"  # crypt(5)
    rb"|\{(?:S?SHA\d{0,3}|S?MD5|CRYPT|PBKDF2[\w-]{0,16}|ARGON2\w{0,2})\}[^\s\"']{8,}"  # RFC 2307
    rb"|(?<=://)[^\s/@:\"'<>]{0,100}:(?!\d{1,5}/)[^\s\"'<>]{1,200}(?=@)"  # RFC 3986, userinfo
    rb"|(?<=[Bb]asic )[A-Za-z0-9+/=_-]{8,}|(?<=[Bb]earer )[\w.~+/=-]{8,}",
)
_WORD = re.compile(rb"[A-Za-z0-9+/_-]{36,}={0,2}")
_KEY_BEGINS, _KEY_ENDS = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"), re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY")
_NO_SECRETS = frozenset(
    b"| > |- >- { [ ( null none true false yes no on off enabled disabled \"\" '' value \"value\" 'value' val content default".split()
)
"""What stands where a value does, and is none, or one that everybody can guess and people need to see."""


def is_hidden_as_a_whole(path: bytes) -> bool:
    """1. Whether nothing of the content of `path` is to be shown."""
    if _KEEPS_SECRETS.fullmatch(path):
        return True
    return places.is_credential(path) and not _PUBLIC.fullmatch(path)


def redact(lines: Sequence[bytes], path: bytes = b"") -> list[bytes]:
    """2, 3, 4. `lines` of the file `path` without their secrets, each cut to `LINE_BYTES`."""
    names_speak = not _PUBLIC.fullmatch(path)
    following = _Following()
    shown = []
    for whole in lines:
        line = whole[:LINE_BYTES]
        if following.hides(line, whole, names_speak=names_speak):
            shown.append(REDACTED if line.strip() else line)
        else:
            shown.append(_redact_line(following.redact_second(line), names_speak=names_speak))
    return shown


@lru_cache(maxsize=256)
def redact_arguments(arguments: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The arguments of a process without what follows an option that speaks of a secret, and without what looks like one."""
    shown = redact(arguments)
    for index in range(1, len(shown)):
        if _OPTION.fullmatch(arguments[index - 1]):
            shown[index] = REDACTED
            continue
        before = arguments[0].rpartition(b"/")[2] + b" " + (arguments[index - 1] + b" " if index > 1 else b"")
        found = _SHORT.search(before[:LINE_BYTES] + arguments[index][:LINE_BYTES])
        if found and found.start("value") >= len(before) and REDACTED not in shown[index]:
            shown[index] = shown[index][: found.start("value") - len(before)] + REDACTED
    return tuple(shown)


class _Following:
    """2. What a line says of those that follow it."""

    def __init__(self) -> None:
        self._is_key = False
        self._indent: int | None = None
        """Lines further in than this are hidden; None: no block is open."""
        self._is_value = False
        """Only as long as they say nothing else."""
        self._quotes = b""
        self._seconds = 0
        """In so many lines may stand the value of the name that was read."""

    def hides(self, line: bytes, whole: bytes, *, names_speak: bool) -> bool:
        """Whether nothing of `line` is to be shown; remembers what it introduces."""
        if self._is_key:
            self._is_key = not _KEY_ENDS.search(whole)
            return True
        if self._quotes:
            if self._quotes in line:
                self._quotes = b""
            return True
        if self._indent is not None:
            is_within = (
                not line.strip() or _indent(line) > self._indent or (self._is_value and line.lstrip().startswith((b"- ", b'"', b"'")))
            )
            if is_within and not (self._is_value and line.strip() and _OTHER.match(line)):
                return True
            self._indent = None
        if _KEY_BEGINS.search(line):
            self._is_key = not _KEY_ENDS.search(whole)
            return True
        if names_speak:
            self._introduce(line)
        return False

    def _is_within(self, line: bytes, indent: int) -> bool:
        if not line.strip():
            return True
        if self._is_value and _OTHER.match(line):
            return False
        return _indent(line) > indent or (self._is_value and line.lstrip().startswith((b"- ", b'"', b"'")))

    def redact_second(self, line: bytes) -> bytes:
        """`value: …` where the line before said `name: password`."""
        found = _SECOND.match(line) if self._seconds else None
        self._seconds = 0 if found else max(0, self._seconds - 1)
        if _FIRST.match(line):
            self._seconds = 2
        if found is None:
            return line
        if found["value"].strip() in (b"", b"|", b"|-", b">", b">-"):
            self._indent, self._is_value = len(found["indent"]), False
            return line
        return _without_value(found)

    def _introduce(self, line: bytes) -> None:
        if found := _LONG.match(line):
            self._quotes = found["quotes"]
        elif found := _BLOCK.match(line):
            self._indent, self._is_value = len(found["indent"]), False
        elif found := _OPEN.match(line):
            self._indent, self._is_value = len(found["indent"] if found["tag"] is None else found["tag"]), True


def _redact_line(line: bytes, *, names_speak: bool) -> bytes:
    if names_speak:
        for pattern in (_PAIRED, _NAMED, _SPACED, _QUOTED, _SHORT, _CHANGED):
            line = pattern.sub(_without_value, line)
    line = _ANYWHERE.sub(REDACTED, line)
    return _WORD.sub(lambda found: REDACTED if _is_random(found[0]) else found[0], line)


def _without_value(found: re.Match[bytes]) -> bytes:
    value = found["value"]
    if value.startswith(REDACTED) or value.strip().rstrip(b",;").lower() in _NO_SECRETS:
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
