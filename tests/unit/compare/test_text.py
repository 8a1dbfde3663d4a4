"""Differences of texts as people see them: exact, bounded, harmless, and without secrets."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.compare.content import describe_content
from intact.compare.redact import REDACTED, is_hidden_as_a_whole, redact, redact_arguments
from intact.compare.text import MOST_SHOWN, diff_text, is_text

LINES = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b""]), max_size=30)
SECRET = b"hunter2hunter2"


def apply(old: list[str], lines: tuple[str, ...]) -> list[str]:
    """What patch(1) makes of `old`."""
    made: list[str] = []
    at = 0
    for line in lines:
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            begin = int(start) - (count != "0")
            made += old[at:begin]
            at = begin
            continue
        if line[0] != "+":
            assert old[at] == line[1:]
            at += 1
        if line[0] != "-":
            made.append(line[1:])
    return made + old[at:]


@given(LINES, LINES)
def test_the_old_lines_with_the_difference_applied_are_the_new_ones(old: list[bytes], new: list[bytes]) -> None:
    def join(lines: list[bytes]) -> bytes:
        return b"".join(line + b"\n" for line in lines)

    found = diff_text(b"/x", join(old), join(new))
    assert apply([line.decode() for line in old], found.lines) == [line.decode() for line in new]
    assert bool(found.lines) == (old != new)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_nothing_that_a_terminal_obeys_comes_out(old: bytes, new: bytes) -> None:
    assert all(c == "\t" or c.isprintable() for line in diff_text(b"/x", old, new).lines for c in line)


@pytest.mark.parametrize(
    "data",
    [
        b"a\nb\n" * 10_000,
        b"x" * 200_000,
        b"\n" * 10_000,
        b" " * 200_000,
        b"-" * 200_000,
        b"password" * 20_000,
        b"a:" * 100_000,
        (b"curl -u " * 249 + b"\n") * 130,
        (b"mysql -uu " * 199 + b"\n") * 130,
        (b"password, " * 199 + b"\n") * 130,
        (b"name: password\n" * 8000),
        (b'pass pass"""\n' * 8000),
        (b"-" * 1999 + b"\n") * 130,
        b"".join(b"%d\n" % (n * n % 7919) for n in range(15_000)),
    ],
    ids=[
        "two-lines",
        "one-line",
        "empty",
        "blanks",
        "dashes",
        "names",
        "colons",
        "curls",
        "mysqls",
        "pairs",
        "firsts",
        "quotes",
        "dashed",
        "shuffled",
    ],
)
def test_no_content_makes_it_slow_or_long(data: bytes) -> None:
    began = time.process_time()
    found = diff_text(b"/x", data, data[::-1] + b"\nend\n")
    assert time.process_time() - began < 20
    assert len(found.lines) <= MOST_SHOWN * 2 and sum(map(len, found.lines)) < 200_000


def test_what_is_beyond_the_bound_is_counted() -> None:
    found = diff_text(b"/x", b"", b"".join(b"%d\n" % n for n in range(5000)))
    assert found.lines[-1] == f"@@ {5000 - MOST_SHOWN:,} more lines differ and are not shown @@"


@pytest.mark.parametrize(
    "line",
    [
        b"DB_PASSWORD=%s",
        b"password: %s",
        b'{"user":"x","apiKey": "%s","y":1}',
        b"define('DB_PASSWORD', '%s');",
        b'$db["password"] = "%s";',
        b"<password>%s</password>",
        b"exec app --token %s --verbose",
        b"requirepass %s",
        b"url=postgres://u:%s@host/db",
        b"root:$6$salt$%s:19000:0",
        b"Authorization: Bearer %s",
        b"aws_secret_access_key = %s",
        b"SECRET_TOKEN := %s",
        b"key ghp_%s00000000",
        b"key AKIA%s",
        b"jwt eyJhbGciOiJI.%s.c2ln",
        b"client-key-data: %s",
        b"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwYWJj%sZZ",
    ],
)
def test_what_looks_like_a_secret_is_not_shown(line: bytes) -> None:
    secret = b"ABCDEFGH12345678" if b"AKIA" in line else SECRET
    (shown,) = redact([line % secret])
    assert secret not in shown and b"[redacted]" in shown


@pytest.mark.parametrize(
    "text",
    [
        b"- name: DB_PASSWORD\n  value: %s",
        b"- name: DB_PASSWORD\n  value: |\n    %s",
        b'{\n "name": "DB_PASSWORD",\n "value": "%s"\n}',
        b'{"name":"DB_PASSWORD","value":"%s"}',
        b'<property name="password" type="string" value="%s"/>',
        b'<add key="DbPassword" value="%s" />',
        b"<password>\n  %s\n</password>",
        b"password:\n  %s",
        b"passwords:\n- %s\n- %s",
        b"password: >-\n  a\n  %s",
        b'password = """\n%s\n"""',
        b"PASSWORD=\\\n  %s",
        b'x = "{\\"password\\":\\"%s\\"}"',
        b"ALTER USER x WITH PASSWORD '%s';",
        b"CREATE USER x IDENTIFIED BY '%s';",
        b"curl -u user:%s http://x",
        b"sshpass -p %s ssh x",
        b"mysql -uroot -p%s shop",
        b"redis-cli -a %s ping",
        b"echo root:%s | chpasswd",
        b'"auths": {"r": {"auth": "%s"}}',
        b"postgres://u:p@%s@host/db",
        b"postgres://u:p/%s@host/db",
        b"redis://:%s@host",
        b"https://a.example/c?sv=1&sig=%s%%2B",
        b"https://hooks.slack.com/services/T0/B0/%s",
        b"user:{SSHA}%s",
        b"APP_KEY=base64:%s=",
        b"define('LOGGED_IN_KEY', '%s');",
        b'"private_key": "-----BEGIN PRIVATE KEY-----\\n%s',
    ],
)
def test_no_form_of_a_value_is_shown(text: bytes) -> None:
    lines = [b"first: 1", *text.replace(b"%s", SECRET).replace(b"%%", b"%").split(b"\n")]
    shown = redact(lines)
    assert len(shown) == len(lines) and shown[0] == lines[0]
    assert not any(SECRET in line for line in shown) and any(REDACTED in line for line in shown)


def test_what_follows_a_value_is_shown_again() -> None:
    lines = [
        b"a:",
        b"  password:",
        b"    " + SECRET,
        b"  port: 80",
        b"- name: TOKEN",
        b"  value: " + SECRET,
        b"- name: PORT",
        b"  value: 80",
    ]
    assert [line for line in redact(lines) if REDACTED not in line] == [lines[n] for n in (0, 1, 3, 4, 6, 7)]
    assert redact([b"credentials:", b"  provider: aws", b"  region: eu"]) == [b"credentials:", b"  provider: aws", b"  region: eu"]
    long = b'{"private_key": "-----BEGIN PRIVATE KEY-----' + b"x" * 5000 + b'-----END PRIVATE KEY-----"}'
    assert redact([long, b"b: 2"]) == [REDACTED, b"b: 2"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([b"curl", b"-u", b"me:" + SECRET, b"http://x"], b"curl -u me:[redacted] http://x"),
        ([b"/usr/bin/mysql", b"-uroot", b"-p" + SECRET], b"/usr/bin/mysql -uroot -p[redacted]"),
        ([b"sshpass", b"-p", SECRET, b"ssh"], b"sshpass -p [redacted] ssh"),
        ([b"app", b"--token", SECRET], b"app --token [redacted]"),
        ([b"sh", b"-c", b"redis-cli -a " + SECRET + b" ping"], b"sh -c redis-cli -a [redacted] ping"),
        ([b"mkdir", b"-p", b"/srv/data"], b"mkdir -p /srv/data"),
        ([b"chown", b"-R", b"33:33", b"/srv"], b"chown -R 33:33 /srv"),
    ],
)
def test_arguments_of_a_process_are_shown_without_secrets(arguments: list[bytes], expected: bytes) -> None:
    assert b" ".join(redact_arguments(tuple(arguments))) == expected


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (b"/etc/nginx/nginx.conf", b"    proxy_pass http://evil.example;"),
        (b"/etc/nginx/nginx.conf", b"    fastcgi_pass unix:/tmp/evil.sock;"),
        (b"/etc/nginx/nginx.conf", b"server_tokens on;"),
        (b"/etc/apache2/x.conf", b"ProxyPass / http://evil.example/"),
        (b"/etc/ssh/sshd_config", b"PasswordAuthentication yes"),
        (b"/etc/ssh/sshd_config", b"PermitEmptyPasswords yes"),
        (b"/etc/sudoers.d/app", b"app ALL=(ALL) NOPASSWD: ALL"),
        (b"/etc/nsswitch.conf", b"passwd: files evil"),
        (b"/etc/pam.d/common-password", b"password sufficient pam_evil.so"),
        (b"/srv/app.yaml", b"image: http://registry.example:5000/web@sha256:0123"),
    ],
)
def test_what_an_attacker_changes_to_get_in_is_shown(path: bytes, line: bytes) -> None:
    assert redact([line], path) == [line]


@pytest.mark.parametrize(
    "line",
    [
        b"listen 80;",
        b"commit 0123456789abcdef0123456789abcdef01234567",
        b"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        b"include /etc/nginx/conf.d/*.conf",
        b"author: Jane",
        b"password:",
        b"spinner = dots",
    ],
)
def test_what_does_not_is_shown(line: bytes) -> None:
    assert redact([line]) == [line]


def test_keys_and_blocks_are_hidden_over_their_lines() -> None:
    text = [b"a: 1", b"password: |", b"  " + SECRET, b"", b"  " + SECRET, b"b: 2"]
    text += [b"-----BEGIN RSA PRIVATE KEY-----", SECRET, b"-----END RSA PRIVATE KEY-----", b"c: 3"]
    shown = redact(text)
    assert len(shown) == len(text) and not any(SECRET in line for line in shown)
    assert [shown[0], shown[5], shown[-1]] == [b"a: 1", b"b: 2", b"c: 3"]


def test_a_change_of_a_secret_is_still_a_change() -> None:
    found = diff_text(b"/x", b"password=one\n", b"password=two\n")
    assert found.lines[1:] == ("-password=[redacted]", "+password=[redacted]")


@pytest.mark.parametrize(
    "path", [b"/etc/shadow", b"/root/.ssh/authorized_keys", b"/srv/tls/site.key", b"/app/.env", b"/run/secrets/x/token"]
)
def test_where_credentials_are_kept_only_numbers_are_told(path: bytes) -> None:
    assert is_hidden_as_a_whole(path)
    found = diff_text(path, b"one\n", b"two\nthree\n")
    assert found.lines == () and "1 lines removed and 2 added" in found.reason
    assert diff_text(path, b"one\n", b"two\n", show_secrets=True).lines


def test_passwd_is_everybodys() -> None:
    assert not is_hidden_as_a_whole(b"/etc/passwd")


def test_what_is_no_text_is_not_compared_by_lines() -> None:
    assert not is_text(b"\x7fELF\0") and not is_text(bytes(range(128, 256))) and is_text("größe\n".encode())
    assert diff_text(b"/x", b"\0", b"a\n").reason == "not text"


@settings(max_examples=300)
@given(st.binary(max_size=200).map(lambda tail: b"\x7fELF" + tail))
def test_no_header_breaks_the_note_on_it(head: bytes) -> None:
    assert describe_content(head).startswith("ELF")


def test_kinds_of_content_are_named() -> None:
    assert describe_content(b"#!/usr/bin/env python3\nprint()\n") == "script, run by /usr/bin/env python3"
    assert describe_content(b"hello\n") == ""
