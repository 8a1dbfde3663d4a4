"""Files that nobody calls and that are obeyed all the same, put into a container: each is told, whatever kind of file it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.model.finding import Level
from tests.attack.staged import Staged

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

HOMES = (
    ".vim/plugin/x.vim", ".vim/vimrc", ".config/nvim/init.lua", ".emacs.d/init.el", ".config/systemd/user/x.service", ".pam_environment",
    ".config/environment.d/x.conf", ".cshrc", ".tcshrc", ".kshrc", ".login", ".zlogout", ".xsessionrc", ".pythonrc.py",
    ".ipython/profile_default/startup/00.py", ".jupyter/jupyter_server_config.py", ".erlang", ".iex.exs", ".Rprofile", ".mongorc.js",
    ".sqliterc", ".lldbinit", ".perldb", ".hgrc", ".bundle/config", ".cargo/config.toml", ".gradle/init.gradle", ".gradle/init.d/x.gradle",
    ".m2/settings.xml", ".mavenrc", ".config/git/config", ".config/containers/policy.json", ".mailcap", ".ansible.cfg", ".pg_service.conf",
    ".shosts", ".k5login", ".node_modules/x.js", ".gem/ruby/3.1.0/gems/x-1/lib/rubygems_plugin.rb",
    ".local/share/gem/ruby/3.1.0/gems/x-1/lib/x.rb", ".local/bin/ls", "bin/ls",
)  # fmt: skip
BESIDE_A_PROGRAM = (
    ".env", ".env.production", ".flaskenv", "application-default.yml", "config/application-default.properties",
    "appsettings.Production.json", "app.runtimeconfig.json", "app.runtimeconfig.dev.json", "php.ini", "bunfig.toml", ".yarnrc.yml",
)  # fmt: skip
SYSTEM = (
    "usr/games/ls", "usr/local/games/ls", "usr/share/vim/vimfiles/plugin/x.vim", "usr/share/bash-completion/completions/git",
    "usr/share/dbus-1/system-services/x.service", "usr/share/polkit-1/rules.d/x.rules", "usr/share/gdb/auto-load/x.py",
    "usr/share/git-core/templates/hooks/post-checkout", "usr/share/postgresql/16/extension/x.sql", "var/lib/extrausers/passwd",
    "var/spool/incron/root", "run/systemd/system/x.service", "run/udev/rules.d/x.rules",
)  # fmt: skip
OF_SERVICES = (
    "root/.viminfo", "root/.vim/.netrwhist", "root/.erlang.cookie", "root/.python_history", "root/.node_repl_history", "root/.lesshst",
    "root/.cache/x", "root/.mongodb/mongosh/log", "root/.npm/_logs/x.log", "srv/app/state.json", "srv/app/app.pid", "var/lib/misc/x",
    "run/systemd/notify", "usr/share/app/state",
)  # fmt: skip
"""What only looks alike and is data."""


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in ("root", "home/web", "srv/app", "usr/games", "usr/local/games", "usr/share/app", "var/lib/misc", "run", "etc"):
            (staged.image / name).mkdir(parents=True)
        (staged.image / "srv/app/main.py").write_bytes(b"print(1)\n")
        for home in ("root", "home/web"):
            (staged.image / home / ".bashrc").write_bytes(b"\n")
        yield staged.start()


def put(staged: Staged, path: str) -> bytes:
    place = staged.inside / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"do = evil\n")
    if place.name in ("ls", "post-checkout"):
        place.chmod(0o755)
    return b"/" + path.encode()


def told(staged: Staged) -> set[bytes]:
    return {one.difference.path for one in staged.judge().findings if one.level >= Level.MEDIUM}


def test_what_programs_obey_in_a_home_is_told(staged: Staged) -> None:
    wanted = {put(staged, f"{home}/{name}") for home in ("root", "home/web") for name in HOMES}
    assert wanted - told(staged) == set()


def test_what_frameworks_read_beside_a_program_is_told(staged: Staged) -> None:
    wanted = {put(staged, f"srv/app/{name}") for name in BESIDE_A_PROGRAM}
    assert wanted - told(staged) == set()


def test_what_the_system_loads_outside_of_its_directories_of_programs_is_told(staged: Staged) -> None:
    wanted = {put(staged, name) for name in SYSTEM}
    assert wanted - told(staged) == set()


SHELLS = ("etc/profile.d/x.sh", "root/.bashrc.d", "root/.bash_profile", "etc/cron.d/x")


@pytest.mark.parametrize("path", [*SHELLS, "etc/ssl/certs/x.pem", "etc/app/conf.d/x", "usr/lib/x", "srv/spool/x"])
def test_a_fifo_that_a_process_feeds_is_told_where_a_file_would_be(staged: Staged, path: str) -> None:
    """A shell sources a FIFO as it does a file, and no byte of it is ever on a disk."""
    is_obeyed = path not in ("root/.bashrc.d", "srv/spool/x")
    (staged.inside / path).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(staged.inside / path)
    assert (b"/" + path.encode() in told(staged)) is is_obeyed


def test_data_that_only_looks_alike_is_not_told(staged: Staged) -> None:
    for name in OF_SERVICES:
        put(staged, name)
    assert told(staged) == set()


def test_who_answers_for_accounts_is_told_unless_the_image_has_the_program_that_does(tmp_path: Path) -> None:
    """The libraries of C ask the socket of nscd(8) for every account, and believe it, before they read `/etc/passwd`."""
    for has_nscd in (False, True):
        with Staged(tmp_path / str(has_nscd)) as staged:
            for name in ("run/nscd", "usr/sbin", "var"):
                (staged.image / name).mkdir(parents=True)
            (staged.image / "var/run").symlink_to("/run")
            if has_nscd:
                (staged.image / "usr/sbin/nscd").write_bytes(b"\x7fELF")
            staged.start()
            for path in ("run/nscd/socket", "run/app.sock"):
                with socket.socket(socket.AF_UNIX) as listening:
                    listening.bind(f"{staged.inside}/{path}")
            grave = {one.difference.path for one in staged.judge().findings if one.level >= Level.HIGH}
            assert grave == (set() if has_nscd else {b"/run/nscd/socket"})
