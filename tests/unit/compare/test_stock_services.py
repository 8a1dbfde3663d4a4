"""What stock services do to their image's tree, and what attackers do: which default rule speaks, and how loudly.

The paths are those that nginx, Apache, PHP, PostgreSQL, MariaDB, RabbitMQ, gunicorn, Node, Tomcat, Java, Postfix, Exim, cron, sshd and
Varnish write when they run as their distributions and upstreams ship them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.model.entry import Entry, Kind
from intact.model.finding import Level
from intact.model.layer import Baseline
from intact.model.observation import Observation
from tests.unit.trees import directory, file, image, link, seen

SYSTEM = (
    directory(b"/tmp", 0o1777), directory(b"/run"), link(b"/var/run", b"/run"), directory(b"/root", 0o700), directory(b"/home"),
    file(b"/root/.bashrc", b"bash"), file(b"/usr/bin/passwd", b"elf", 0o4755), file(b"/usr/bin/curl", b"elf", 0o755),
    file(b"/usr/lib/x86_64-linux-gnu/libc.so.6", b"elf", 0o755), file(b"/usr/local/bin/docker-entrypoint.sh", b"#!/bin/sh", 0o755),
    file(b"/etc/passwd", b"root:x:0"), file(b"/etc/shadow", b"root:*", 0o640), file(b"/etc/group", b"root:x:0"),
    file(b"/etc/.pwd.lock", b"", 0o600), file(b"/etc/ssl/certs/ca-certificates.crt", b"CERTS"), file(b"/etc/crontab", b"17 *"),
    file(b"/etc/ld.so.cache", b"ld.so"), file(b"/etc/aliases", b"root:"), directory(b"/etc/cron.d"), directory(b"/etc/ssl/private", 0o710),
    file(b"/var/log/dpkg.log", b"log"), file(b"/var/log/apt/history.log", b"history"), link(b"/var/log/nginx/access.log", b"/dev/stdout"),
    file(b"/var/log/nginx/error.log", b""), directory(b"/var/log/mysql"), directory(b"/var/backups"), directory(b"/var/cache/apt"),
    file(b"/var/lib/dpkg/status", b"status"), file(b"/var/lib/dpkg/info/dash.postinst", b"#!/bin/sh", 0o755),
    directory(b"/var/lib/postgresql/data", 0o700), directory(b"/run/postgresql"), directory(b"/var/lib/mysql"),
    directory(b"/var/lib/rabbitmq"),
    directory(b"/data"), directory(b"/prometheus"), directory(b"/var/spool/exim4/input"), directory(b"/var/spool/postfix/maildrop"),
    directory(b"/var/spool/cron/crontabs", 0o1730), directory(b"/var/lib/varnish"), directory(b"/var/lib/php/sessions", 0o1733),
    file(b"/etc/nginx/nginx.conf", b"conf"), file(b"/etc/nginx/conf.d/default.conf", b"conf"), directory(b"/var/cache/nginx"),
    file(b"/usr/share/nginx/html/index.html", b"<h1>"), file(b"/usr/share/nginx/html/assets/app.js", b"js"),
    file(b"/etc/apache2/apache2.conf", b"conf"), file(b"/etc/apache2/sites-available/000-default.conf", b"conf"),
    file(b"/var/www/html/index.php", b"<?php"), file(b"/var/www/html/wp-content/plugins/a/a.php", b"<?php"),
    file(b"/var/www/html/wp-content/plugins/b/b.php", b"<?php"), directory(b"/var/www/html/uploads"), directory(b"/var/www/templates_c"),
    directory(b"/var/www/cache/twig"), file(b"/etc/postfix/main.cf", b"cf"), file(b"/etc/ssh/sshd_config", b"Port 22"),
    directory(b"/var/lib/mosquitto"), file(b"/etc/mosquitto/mosquitto.conf", b"conf"), file(b"/etc/haproxy/haproxy.cfg", b"cfg"),
)  # fmt: skip
RUNTIMES = (
    file(b"/usr/lib/python3.11/json/__init__.py", b"py"), file(b"/usr/lib/python3/dist-packages/flask/app.py", b"py"),
    link(b"/usr/lib/python3/dist-packages/six.py", b"../../six/six.py"),
    file(b"/usr/local/lib/python3.11/site-packages/gunicorn/app/base.py", b"py"), file(b"/srv/app/wsgi.py", b"py"),
    directory(b"/srv/app/instance"), file(b"/srv/app/docs/notes", b"text"),
    file(b"/app/server.js", b"js"), file(b"/app/package.json", b"{}"), file(b"/app/node_modules/express/index.js", b"js"),
    file(b"/app/node_modules/debug/index.js", b"js"), directory(b"/app/node_modules/.cache"), directory(b"/home/node"),
    file(b"/usr/local/tomcat/bin/catalina.sh", b"#!/bin/sh", 0o755), file(b"/usr/local/tomcat/lib/servlet-api.jar", b"PK"),
    file(b"/usr/local/tomcat/webapps/shop.war", b"PK"), directory(b"/usr/local/tomcat/work"), directory(b"/usr/local/tomcat/temp"),
    directory(b"/usr/local/tomcat/logs"), file(b"/usr/local/tomcat/conf/server.xml", b"xml"),
    file(b"/opt/jetty/webapps/root/WEB-INF/web.xml", b"xml"), file(b"/opt/jetty/webapps/root/index.jsp", b"jsp"),
    file(b"/opt/shop/shop.jar", b"PK"), file(b"/usr/lib/jvm/java-17/lib/security/cacerts", b"jks"),
    file(b"/srv/rails/config.ru", b"ruby"), file(b"/srv/rails/app/models/user.rb", b"ruby"), directory(b"/srv/rails/tmp/cache"),
)  # fmt: skip
IMAGE = image(*SYSTEM, *RUNTIMES)

TARGETS = (
    b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf", b"/dev/termination-log", b"/var/run/secrets/kubernetes.io/serviceaccount",
    b"/etc/nginx/conf.d/extra.conf", b"/usr/share/nginx/html/50x.html", b"/opt/cm",
)  # fmt: skip


def of(path: bytes) -> Entry:
    entry = IMAGE.find(path)
    assert entry is not None, path
    return entry


def changed(path: bytes, content: bytes = b"changed content") -> Entry:
    now = file(path, content)
    return replace(of(path), size_bytes=now.size_bytes, digest=now.digest)


def socket(path: bytes) -> Entry:
    return Entry(path=path, kind=Kind.SOCKET, mode=0o777)


def speak(observation: Observation, baseline: Baseline = IMAGE) -> dict[bytes, tuple[str, Level]]:
    verdict = judge(baseline, observation, compare(baseline, observation))
    return {finding.difference.path: (finding.rule, finding.level) for finding in verdict.findings}


def silent_rule(observation: Observation) -> str | None:
    """The rule under which the one difference was counted; None where there is no difference at all."""
    verdict = judge(IMAGE, observation, compare(IMAGE, observation))
    assert verdict.findings == (), verdict.findings
    rules = {aggregate.rule for aggregate in verdict.aggregates}
    assert len(rules) <= 1
    return next(iter(rules), None)


QUIET = {
    "a mount target that the runtime made": (file(b"/etc/hostname", b"", 0o755), "runtime-stub"),
    "the target of a subPath volume": (file(b"/etc/nginx/conf.d/extra.conf", b"", 0o755), "runtime-stub"),
    "the target of a subPath volume beside pages": (file(b"/usr/share/nginx/html/50x.html", b"", 0o755), "runtime-stub"),
    "the target of a directory volume": (directory(b"/opt/cm"), "runtime-stub"),
    "the parent of the token's directory": (directory(b"/run/secrets/kubernetes.io"), "runtime-stub"),
    "a log of the image that was appended to": (changed(b"/var/log/dpkg.log"), "image-log-changed"),
    "a log of the image that was truncated": (changed(b"/var/log/apt/history.log", b""), "image-log-changed"),
    "a link to the standard output that rotation replaced": (file(b"/var/log/nginx/access.log", b"GET /"), "image-log-changed"),
    "a log of the image with another owner": (replace(of(b"/var/log/nginx/error.log"), uid=33), "image-log-changed"),
    "a log that was rotated away": (file(b"/var/log/nginx/error.log.1", b"old"), "data-added"),
    "a log that was packed": (file(b"/var/log/nginx/error.log.2.gz", b"\x1f\x8b"), "data-added"),
    "the new empty log, as in the image": (of(b"/var/log/nginx/error.log"), None),
    "a lock that was copied up": (of(b"/etc/.pwd.lock"), None),
    "configuration that chown copied up unchanged": (of(b"/etc/mosquitto/mosquitto.conf"), None),
    "npm's logs": (file(b"/root/.npm/_logs/2027-01-01T00_00_00_000Z-debug-0.log", b"npm"), "data-added"),
    "login records": (file(b"/var/log/wtmp", b"utmp"), "data-added"),
    "a pid file": (file(b"/run/nginx.pid", b"7"), "data-added"),
    "a pid file beside the code": (file(b"/srv/app/gunicorn.pid", b"7"), "data-added"),
    "a socket": (socket(b"/run/haproxy/admin.sock"), "data-added"),
    "a socket beside the code": (socket(b"/srv/rails/tmp/pumactl.sock"), "data-added"),
    "cron's marker of mode 0": (file(b"/run/crond.reboot", b"", 0), "data-added"),
    "a database's file": (file(b"/var/lib/postgresql/data/base/5/1249", b"\0" * 9), "data-added"),
    "a database's socket lock": (file(b"/run/postgresql/.s.PGSQL.5432.lock", b"1"), "data-added"),
    "another mode of the data directory": (directory(b"/var/lib/postgresql/data", 0o750), "image-directory-metadata"),
    "another mode of the socket directory": (directory(b"/run/postgresql", 0o3777), "image-directory-metadata"),
    "MariaDB's tablespace": (file(b"/var/lib/mysql/ibdata1", b"\0"), "data-added"),
    "Redis's append-only file": (file(b"/data/appendonlydir/appendonly.aof.1.incr.aof", b"*2"), "data-added"),
    "RabbitMQ's cookie": (file(b"/var/lib/rabbitmq/.erlang.cookie", b"COOKIE", 0o400), "data-added"),
    "Prometheus's block": (file(b"/prometheus/01ABC/chunks/000001", b"\x85"), "data-added"),
    "SQLite beside the code": (file(b"/srv/app/app.db", b"SQLite format 3\0"), "data-added"),
    "a message in the queue": (file(b"/var/spool/exim4/input/1abc-D", b"mail"), "data-added"),
    "a session": (file(b"/var/lib/php/sessions/sess_0123", b"a|i:1"), "data-added"),
    "an upload": (file(b"/var/www/html/uploads/cat.jpg", b"\xff\xd8"), "data-added"),
    "nginx's cache": (file(b"/var/cache/nginx/c/29/b7f54b2df7773722d382f4809d65029c", b"KEY"), "data-added"),
    "a compiled Smarty template": (file(b"/var/www/templates_c/a1.index.tpl.php", b"<?php"), "code-in-scratch"),
    "a compiled Twig template": (file(b"/var/www/cache/twig/4a/4a5b.php", b"<?php"), "code-in-scratch"),
    "a compiled page": (file(b"/usr/local/tomcat/work/Catalina/localhost/shop/org/index_jsp.class", b"\xca\xfe"), "code-in-scratch"),
    "bootsnap's cache": (file(b"/srv/rails/tmp/cache/bootsnap/compile-cache-iseq/4a/b5", b"RIYSEQ"), "data-added"),
    "babel's cache": (file(b"/app/node_modules/.cache/babel/x.js", b"js"), "code-in-scratch"),
    "a library that Java unpacked": (file(b"/tmp/snappy-1.1.8-libsnappyjava.so", b"\x7fELF", 0o755), "code-in-scratch"),
    "Varnish's compiled configuration": (file(b"/var/lib/varnish/web/vcl_boot.1/vgc.so", b"\x7fELF", 0o755), "code-in-scratch"),
    "Java's performance data": (file(b"/tmp/hsperfdata_root/1", b"\xca\xfe\xc0\xc0"), "data-added"),
    "a map for perf": (file(b"/tmp/perf-1.map", b"7f"), "data-added"),
    "a flight recording": (file(b"/opt/shop/shop.jfr", b"FLR"), "data-added"),
    "shared class data": (file(b"/opt/shop/shop.jsa", b"jsa"), "data-added"),
    "dpkg's backup": (file(b"/var/lib/dpkg/status-old", b"status"), "data-added"),
    "cron's backup": (file(b"/var/backups/dpkg.status.0", b"status"), "data-added"),
    "a bytecode cache that is being written": (
        file(b"/usr/lib/python3/dist-packages/flask/__pycache__/app.cpython-311.pyc.140217023174192", b"\xa7\r\r\n"), "data-added"),
    "a shell's history": (file(b"/root/.bash_history", b"ls"), "data-added"),
    "less's history": (file(b"/root/.lesshst", b".less"), "data-added"),
    "a new directory for configuration": (directory(b"/usr/local/tomcat/conf/Catalina/localhost"), "data-added"),
    "a web shell in a directory that is empty in the image": (file(b"/var/www/html/uploads/shell.php", b"<?php"), "code-in-scratch"),
}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_it_is_silent_about_the_life_of_stock_services(name: str) -> None:
    what, rule = QUIET[name]
    assert silent_rule(seen(what, targets=TARGETS)) == rule


def test_a_removed_log_of_the_image_is_counted() -> None:
    assert silent_rule(seen(absent=(b"/var/log/dpkg.log",))) == "image-log-changed"


LOUD = {
    # what entry points do, and what is told of it until a start profile says that every pod does
    "a page that the entry point edited": (changed(b"/usr/share/nginx/html/assets/app.js"), "image-file-changed", Level.HIGH),
    "configuration from a template": (file(b"/etc/nginx/conf.d/app.conf", b"server"), "control-file-added", Level.MEDIUM),
    "configuration edited by sed": (changed(b"/etc/nginx/conf.d/default.conf"), "image-file-changed", Level.MEDIUM),
    "postconf's configuration": (changed(b"/etc/postfix/main.cf"), "image-file-changed", Level.MEDIUM),
    "a line for an arbitrary uid": (changed(b"/etc/passwd"), "image-file-changed", Level.HIGH),
    "a bundle of certificates": (changed(b"/etc/ssl/certs/ca-certificates.crt"), "image-file-changed", Level.HIGH),
    "Java's trust store": (changed(b"/usr/lib/jvm/java-17/lib/security/cacerts"), "image-file-changed", Level.HIGH),
    "a host key": (file(b"/etc/ssh/ssh_host_ed25519_key", b"KEY", 0o600), "control-file-added", Level.HIGH),
    "a database of aliases": (file(b"/etc/aliases.db", b"\0"), "control-file-added", Level.MEDIUM),
    "a crontab typed into a running container": (file(b"/var/spool/cron/crontabs/root", b"* *", 0o600), "control-file-added", Level.HIGH),
    "the linker's cache": (changed(b"/etc/ld.so.cache"), "image-file-changed", Level.HIGH),
    # mount targets
    "a mount target with content": (file(b"/etc/hostname", b"evil", 0o755), "control-file-added", Level.HIGH),
    "something below a mount target's parent": (file(b"/run/secrets/x.so", b"\x7fELF", 0o4755), "privilege-bits", Level.CRITICAL),
    # attacks
    "a web shell beside the image's code": (file(b"/var/www/html/shell.php", b"<?php"), "code-added", Level.HIGH),
    "a web shell in a new directory": (file(b"/var/www/html/.well-known/x/shell.php", b"<?php"), "code-added", Level.HIGH),
    "a web shell as a new plugin": (file(b"/var/www/html/wp-content/plugins/evil/evil.php", b"<?php"), "code-added", Level.HIGH),
    "an .htaccess": (file(b"/var/www/html/.htaccess", b"AddType"), "code-added", Level.HIGH),
    "a .user.ini": (file(b"/var/www/html/.user.ini", b"auto_prepend_file"), "code-added", Level.HIGH),
    "an extra module beside the app": (file(b"/srv/app/evil.py", b"py"), "code-added", Level.HIGH),
    "a new package among the app's": (file(b"/app/node_modules/evil/index.js", b"js"), "control-file-added", Level.HIGH),
    "a package in a directory above": (file(b"/node_modules/evil/index.js", b"js"), "control-file-added", Level.HIGH),
    "a new page of an unpacked application": (file(b"/usr/local/tomcat/webapps/shop/evil.jsp", b"jsp"), "code-added", Level.HIGH),
    "a second application": (file(b"/usr/local/tomcat/webapps/evil.war", b"PK"), "code-added", Level.HIGH),
    "an application beside unpacked ones": (file(b"/opt/jetty/webapps/evil/shell.jsp", b"jsp"), "code-added", Level.HIGH),
    "a class changed in the unpacked application": (
        file(b"/usr/local/tomcat/webapps/shop/WEB-INF/classes/A.class", b"\xca\xfe\xba\xbe"), "code-added", Level.HIGH),
    "a context that deploys an application": (
        file(b"/usr/local/tomcat/conf/Catalina/localhost/evil.xml", b"<Context"), "control-file-added", Level.HIGH),
    "configuration beside the jar": (file(b"/opt/shop/application.properties", b"logging"), "code-added", Level.HIGH),
    "a line appended to an image script": (changed(b"/usr/local/bin/docker-entrypoint.sh"), "image-file-changed", Level.HIGH),
    "a script of the app changed": (changed(b"/app/server.js"), "image-file-changed", Level.HIGH),
    "a file of the app that is no code changed": (changed(b"/srv/app/docs/notes"), "image-file-changed", Level.MEDIUM),
    "the package's main module changed": (changed(b"/app/package.json"), "image-file-changed", Level.HIGH),
    "a name that only looks as if it were being written": (
        file(b"/usr/lib/python3/dist-packages/flask/__pycache__/evil.cpython-311.pyc.1", b"x"), "control-file-added", Level.MEDIUM),
    "a program under such a name": (
        file(b"/usr/lib/python3/dist-packages/flask/__pycache__/app.cpython-311.pyc.1", b"x", 0o755), "control-file-added", Level.HIGH),
    "a bytecode cache without a source in the image": (
        file(b"/srv/app/__pycache__/evil.cpython-311.pyc", b"pyc"), "code-added", Level.HIGH),
    "bytecode in place of a source": (file(b"/srv/app/wsgi.pyc", b"pyc"), "code-added", Level.HIGH),
    "a .pth": (file(b"/usr/lib/python3/dist-packages/evil.pth", b"import os"), "control-file-added", Level.HIGH),
    "a .pth of the user": (file(b"/home/node/.local/lib/python3.11/site-packages/x.pth", b"import"), "control-file-added", Level.HIGH),
    "a module of the user": (file(b"/root/.local/lib/python3.11/site-packages/json.py", b"py"), "control-file-added", Level.HIGH),
    "a sitecustomize": (file(b"/srv/app/sitecustomize.py", b"py"), "control-file-added", Level.HIGH),
    "a Perl module where Perl looks first": (file(b"/usr/local/share/perl/5.36.0/strict.pm", b"pm"), "control-file-added", Level.HIGH),
    "apache2.conf": (changed(b"/etc/apache2/apache2.conf"), "image-file-changed", Level.MEDIUM),
    "nginx.conf": (changed(b"/etc/nginx/nginx.conf"), "image-file-changed", Level.MEDIUM),
    "a new virtual host": (file(b"/etc/nginx/conf.d/evil.conf", b"server"), "control-file-added", Level.MEDIUM),
    "a site that is enabled": (
        link(b"/etc/apache2/sites-enabled/evil.conf", b"/tmp/evil.conf"), "control-file-added", Level.MEDIUM),
    "PHP's settings of an official image": (file(b"/usr/local/etc/php/conf.d/evil.ini", b"extension"), "control-file-added", Level.HIGH),
    "cron.d": (file(b"/etc/cron.d/evil", b"* * * * * root"), "control-file-added", Level.HIGH),
    "root's authorized_keys": (file(b"/root/.ssh/authorized_keys", b"ssh-ed25519"), "control-file-added", Level.HIGH),
    "a service account's authorized_keys": (file(b"/var/lib/postgresql/.ssh/authorized_keys", b"ssh"), "control-file-added", Level.HIGH),
    "ld.so.preload": (file(b"/etc/ld.so.preload", b"/tmp/x.so"), "control-file-added", Level.HIGH),
    "a changed .bashrc": (changed(b"/root/.bashrc"), "image-file-changed", Level.HIGH),
    "a .bash_aliases": (file(b"/root/.bash_aliases", b"alias ls="), "control-file-added", Level.HIGH),
    "a service account's .profile": (file(b"/var/lib/mysql/.profile", b"export"), "control-file-added", Level.HIGH),
    "set-user-ID on an image binary": (replace(of(b"/usr/bin/curl"), mode=0o4755), "privilege-bits", Level.CRITICAL),
    "a copy of a binary where programs are found": (file(b"/usr/local/bin/kworker", b"elf", 0o755), "control-file-added", Level.HIGH),
    "a library where the linker looks": (file(b"/usr/lib/x86_64-linux-gnu/libz.so.1", b"elf"), "control-file-added", Level.HIGH),
    "data in a library directory": (file(b"/usr/lib/x86_64-linux-gnu/gconv/evil", b"data"), "control-file-added", Level.MEDIUM),
    "an image program made writable by all": (replace(of(b"/usr/bin/curl"), mode=0o757), "image-file-changed", Level.HIGH),
    "the app's directory made writable by all": (directory(b"/srv/app", 0o777), "image-file-changed", Level.MEDIUM),
    "the directory of private keys opened": (directory(b"/etc/ssl/private", 0o777), "image-file-changed", Level.HIGH),
    "the root directory given to a service's user": (
        Entry(path=b"/", kind=Kind.DIRECTORY, mode=0o755, uid=1000), "image-file-changed", Level.MEDIUM),
    "the directory for everybody without its sticky bit": (directory(b"/tmp", 0o777), "image-file-changed", Level.MEDIUM),
    "a script run by log rotation": (file(b"/etc/logrotate.d/evil", b"postrotate"), "control-file-added", Level.HIGH),
    "a hook of dpkg": (file(b"/etc/dpkg/dpkg.cfg.d/evil", b"post-invoke"), "control-file-added", Level.HIGH),
    "settings of git for everybody": (file(b"/etc/gitconfig", b"[core] fsmonitor"), "control-file-added", Level.HIGH),
    "root's home opened": (directory(b"/root", 0o777), "image-file-changed", Level.MEDIUM),
    "a log that became a link to a secret": (link(b"/var/log/dpkg.log", b"/etc/shadow"), "image-file-changed", Level.MEDIUM),
    "a log that became a program": (replace(changed(b"/var/log/dpkg.log"), mode=0o755), "image-file-changed", Level.HIGH),
    "a link out of the document root": (link(b"/usr/share/nginx/html/all", b"/"), "code-added", Level.MEDIUM),
    "a directory of code replaced by a link": (link(b"/srv/app", b"/tmp/app"), "image-file-changed", Level.MEDIUM),
    "a device": (Entry(path=b"/tmp/sda", kind=Kind.BLOCK, mode=0o600, device=(8, 0)), "device-node-added", Level.HIGH),
}  # fmt: skip


@pytest.mark.parametrize("name", LOUD)
def test_it_tells_what_changes_what_runs(name: str) -> None:
    what, rule, level = LOUD[name]
    told = speak(seen(what, targets=TARGETS))
    assert told[what.path] == (rule, level)


def test_a_removed_program_is_told() -> None:
    assert speak(seen(absent=(b"/usr/bin/curl",))) == {b"/usr/bin/curl": ("image-file-changed", Level.HIGH)}


@pytest.mark.parametrize("path", [b"/var/www/html/cat", b"/srv/app/data.bin", b"/opt/jetty/webapps/x/y"])
def test_code_is_known_by_its_first_bytes_where_its_name_says_nothing(path: bytes) -> None:
    added = file(path, b"\x7fELF")
    assert speak(seen(added)) == {}
    assert speak(replace(seen(added), runnable=(path,))) == {path: ("code-added", Level.HIGH)}


def test_first_bytes_make_no_noise_where_the_image_has_no_code() -> None:
    assert speak(replace(seen(file(b"/var/lib/mysql/x", b"\x7fELF")), runnable=(b"/var/lib/mysql/x",))) == {}
