"""What servers deploy, load and obey from places of their own: put there it is told, though no interpreter calls it code by name, and
though the image's own directory is empty. What the same servers write beside it in a normal life is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.model.finding import Level
from tests.attack.staged import Staged

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(120)]

IMAGE = (
    "usr/local/tomcat/webapps/", "usr/local/tomcat/work/", "usr/local/tomcat/temp/", "usr/local/tomcat/logs/",
    "usr/local/tomcat/conf/server.xml", "opt/jetty/webapps/root/index.jsp", "opt/jetty/webapps/root/WEB-INF/classes/A.class",
    "var/lib/jetty/start.d/http.ini", "opt/jboss/wildfly/standalone/deployments/README.txt", "opt/keycloak/providers/README.md",
    "usr/share/elasticsearch/config/elasticsearch.yml", "usr/share/elasticsearch/plugins/", "usr/share/elasticsearch/data/",
    "usr/share/logstash/pipeline/logstash.conf", "mosquitto/config/mosquitto.conf", "mosquitto/data/",
    "usr/local/apache2/conf/httpd.conf", "usr/local/apache2/conf/extra/httpd-ssl.conf", "usr/share/terminfo/x/xterm",
    "usr/share/nginx/html/index.html", "usr/share/GeoIP/", "usr/include/stdio.h", "usr/src/app/server.js",
    "usr/src/app/config/default.json", "usr/local/bundle/", "go/bin/", "srv/app/main.py", "srv/app/views/index.ejs",
    "srv/mojo/app.pl", "opt/karaf/lib/boot/x.jar", "opt/karaf/deploy/", "opt/airflow/airflow.cfg", "opt/airflow/dags/", "mnt/extra-addons/",
    "opt/keycloak/themes/README.md", "opt/shop/shop.jar", "opt/dotnet/shop.dll", "srv/shiny/app.R", "srv/site/nginx.conf", "home/deploy/",
    "var/www/html/css/site.css", "var/www/html/img/logo.png", "var/www/html/fonts/a.woff2", "var/www/html/media/readme.txt",
    "srv/app/src/main.ts", "srv/app/migrations/V1__init.sql", "srv/app/config/settings.yml", "var/www/html/index.php",
    "var/www/html/uploads/", "var/lib/mysql/", "var/lib/postgresql/data/", "var/jenkins_home/", "root/.bashrc", "home/web/.bashrc",
    "opt/venv/lib/python3.13/site-packages/flask/app.py", "tmp/", "run/", "data/", "etc/hosts",
)  # fmt: skip
DEPLOYED = (
    "usr/local/tomcat/webapps/evil.war", "usr/local/tomcat/webapps/evil/shell.jsp", "usr/local/tomcat/webapps/ROOT/META-INF/context.xml",
    "usr/local/tomcat/conf/evil.xml", "opt/jetty/webapps/root/WEB-INF/web.xml", "var/lib/jetty/start.d/evil.ini",
    "opt/jetty/webapps/root/META-INF/services/jakarta.servlet.ServletContainerInitializer",
    "opt/jboss/wildfly/standalone/deployments/evil.war", "opt/keycloak/providers/evil.jar",
    "usr/share/elasticsearch/plugins/evil/evil.jar", "var/jenkins_home/init.groovy.d/x.groovy", "var/jenkins_home/plugins/x.hpi",
    "var/www/html/shell.php.jpg", "var/www/html/shell.pht", "srv/app/views/evil.ejs", "srv/app/src/evil.ts",
    "srv/app/migrations/V2__evil.sql", "usr/local/bundle/specifications/evil-1.gemspec", "var/lib/gems/3.1.0/gems/evil/lib/evil.rb",
    "opt/venv/lib/python3.13/site-packages/evil.dist-info/entry_points.txt", "srv/app/evil.psgi", "srv/app/evil.exs", "srv/app/x.rake",
    "opt/jetty/webapps/evil.xml", "opt/jboss/wildfly/standalone/deployments/evil-ds.xml", "opt/karaf/deploy/evil.jar",
    "opt/karaf/deploy/evil.kar", "opt/karaf/deploy/evil.xml", "opt/airflow/dags/evil.py", "mnt/extra-addons/evil/__init__.py",
    "opt/keycloak/themes/evil/login/login.ftl", "var/jenkins_home/init.groovy", "srv/shiny/global.R", "var/www/html/shell.PHP.jpg",
    "var/www/html/shell.pHp5.gif", "var/www/html/shell.php\n", "srv/mojo/evil.html.ep", "opt/shop/evil.ftlh",
    "srv/app/views/evil.handlebars",
)  # fmt: skip
OBEYED = (
    "usr/share/elasticsearch/config/evil.options", "usr/share/logstash/pipeline/evil.conf", "mosquitto/config/evil.conf",
    "usr/local/apache2/conf/extra/evil.conf", "usr/src/app/config/local.json", "srv/app/config/evil.yml", "srv/app/log4j2-test.xml",
    "srv/app/logback-test.xml", "srv/app/jndi.properties", "srv/app/.hotspotrc", "srv/app/nodemon.json", "srv/app/.envrc",
    "usr/share/p11-kit/modules/evil.module", "usr/share/zsh/vendor-completions/_evil", "usr/share/fish/vendor_conf.d/evil.fish",
    "usr/share/rubygems-integration/all/specifications/evil.gemspec", "usr/share/terminfo/x/xterm-256color", "usr/include/stdlib.h",
    "usr/local/include/evil.h", "usr/local/share/postgresql/extension/evil.control", "usr/share/initramfs-tools/hooks/x",
    "usr/share/misc/magic.mgc", "var/lib/mysql/mysqld-auto.cnf", "var/lib/misc/passwd.db", "docker-entrypoint-preinitdb.d/x.sh",
    "always-initdb.d/x.sql", "custom-cont-init.d/x", "run/user/0/systemd/user/x.service", "srv/app/.git/hooks/post-checkout",
    "srv/git/repo.git/hooks/post-receive", "srv/app/.git/modules/lib/hooks/post-checkout", "opt/shop/application.xml",
    "opt/shop/application-default.xml", "opt/shop/bootstrap.yaml", "opt/shop/quartz.properties", "opt/shop/hazelcast.xml",
    "opt/shop/loader.properties", "opt/dotnet/appsettings.json", "opt/dotnet/shop.deps.json", "opt/dotnet/shop.dll.config",
    "srv/app/babel.config.json", "srv/app/Caddyfile", "usr/local/ssl/openssl.cnf", "run/userdb/evil.user", "etc/ld-musl-x86_64.path",
)  # fmt: skip
HOMES = (
    ".bash_completion", ".local/share/bash-completion/completions/git", ".selected_editor", ".lesskey", ".config/tmux/tmux.conf", ".mailrc",
    ".muttrc", ".rpmmacros", ".dpkg.cfg", ".ocamlinit", ".ackrc", ".tigrc", ".devscripts", ".dovecot.sieve", ".qmail", ".mailfilter",
    ".local/share/systemd/user/x.service", ".local/share/dbus-1/services/x.service", ".oh-my-zsh/custom/x.zsh", ".bashrc.d/x",
    ".wp-cli/config.yml", ".config/starship.toml", ".config/psysh/config.php", ".ansible/plugins/modules/x.py", ".terraformrc",
    ".bundle/plugin/index", ".postgresql/root.crt", ".config/nushell/config.nu", ".sbclrc", ".lein/profiles.clj",
    ".config/powershell/profile.ps1", ".config/direnv/direnvrc", ".subversion/config", ".config/go/env",
    ".zshrc.zwc", ".zshenv.zwc", ".less", ".termcap", ".terminfo/x/xterm", ".config/vim/vimrc", ".config/sqlite3/sqliterc",
    ".config/nano/nanorc", ".config/uv/uv.toml", ".config/pypoetry/config.toml", ".config/pnpm/rc", ".config/composer/composer.json",
    ".composer/config.json", ".config/mc/mc.ext.ini",
)  # fmt: skip
PROGRAMS = (
    "go/bin/git",
    "root/go/bin/git",
    "root/.cargo/bin/ls",
    "home/web/.npm-global/bin/npm",
    "opt/app/x/bin/y",
    "usr/share/bug/x/script",
    "root/.pyenv/shims/python",
)
LINKS = (
    ("root/.config", "/tmp/c"), ("root/.config/git", "/tmp/g"), ("home/web/.local", "/tmp/l"), ("root/.vim", "/tmp/v"),
    ("root/.ssh", "/tmp/s"), ("usr/local/share/perl", "/tmp/p"), ("var/spool/at", "/tmp/q"), ("usr/share/vim", "/tmp/vv"),
    ("node_modules", "/tmp/n"), ("usr/local/tomcat/webapps/evil", "/tmp/e"),
    ("srv/site/conf.d", "/tmp/c"), ("srv/site/sites-enabled", "/tmp/c"), ("srv/site/php.d", "/tmp/c"), ("usr/local/lib64", "/tmp/l"),
    ("usr/lib64", "/tmp/l"), ("etc/alternatives/java", "/tmp/j"),
)  # fmt: skip
QUIET = (
    "usr/share/elasticsearch/data/nodes/0/_state/x.st", "usr/local/tomcat/logs/catalina.2027.log", "usr/local/tomcat/temp/x",
    "usr/local/tomcat/work/Catalina/localhost/ROOT/org/index_jsp.class", "usr/share/nginx/html/robots.txt", "srv/app/app.db",
    "srv/app/gunicorn.pid", "srv/app/state.json", "usr/src/app/upload.tmp", "usr/share/GeoIP/GeoLite2.mmdb", "mosquitto/data/mosquitto.db",
    "data/appendonly.aof", "data/dump.sql", "var/lib/mysql/ibdata1", "var/lib/mysql/undo001", "var/lib/postgresql/data/pg_hba.conf",
    "var/lib/postgresql/data/postgresql.auto.conf", "var/www/html/uploads/cat.jpg", "tmp/hsperfdata_root/1", "tmp/x/bin/y", "run/x.pid",
    "root/.bash_history", "root/.lesshst", "root/.viminfo", "root/.wget-hsts", "root/.cache/x", "root/.config/htop/x",
    "root/.npm/_cacache/x",
    "root/.config/configstore/update-notifier-npm.json", "root/.mysql_history", "root/.rediscli_history", "root/.psql_history",
    "root/.dbshell", "root/.local/share/mc/history", "root/.local/state/x", "root/.local/share/fish/fish_history", "root/.rnd",
    "root/.emacs.d/auto-save-list/x", "root/.java_pid1", "root/.screen/x", "var/jenkins_home/jobs/x.xml",
    "srv/app/.git/hooks/update.sample", "srv/git/repo.git/hooks/update.sample", "home/deploy/x.sh", "home/deploy/x.xml", "root/.terminal",
    "root/.config/mc/ini", "root/.config/mc/panels.ini", "root/.composer/cache/x.json", "tmp/webapps/x.xml", "data/x.deps",
    "var/www/html/uploads/cat.PNG",
)  # fmt: skip


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path / "staged") as staged:
        for name in IMAGE:
            place = staged.image / name
            (place if name.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                place.write_bytes(b"as it came\n")
        yield staged.start()


def put(staged: Staged, path: str, mode: int = 0o644, text: bytes = b"do = evil\n") -> bytes:
    place = staged.inside / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text)
    place.chmod(mode)
    return b"/" + path.encode()


def told(staged: Staged, level: Level = Level.MEDIUM) -> set[bytes]:
    return {one.difference.path for one in staged.judge().findings if one.level >= level}


def test_what_a_server_deploys_or_runs_by_itself_is_told(staged: Staged) -> None:
    wanted = {put(staged, name) for name in DEPLOYED}
    assert wanted - told(staged) == set()
    assert b"/usr/local/tomcat/webapps/evil.war" in told(staged, Level.HIGH)


def test_a_page_among_styles_and_pictures_of_a_site_is_told_as_grave(staged: Staged) -> None:
    """The image keeps no code there, and nobody uploads any: it is where web shells are hidden."""
    names = ("css/shell.php", "img/shell.phtml", "img/.htaccess", "fonts/.user.ini", "fonts/shell.jsp", "img/x.PHP")
    wanted = {put(staged, f"var/www/html/{name}") for name in names}
    for name in ("img/cat.jpg", "img/cat.svg", "css/site.min.css", "img/attachment.jar", "media/shell.php", "img/2027/index.php"):
        put(staged, f"var/www/html/{name}")
    assert told(staged, Level.HIGH) == wanted


def test_what_a_server_reads_as_its_configuration_is_told(staged: Staged) -> None:
    wanted = {put(staged, name) for name in OBEYED}
    assert wanted - told(staged) == set()


def test_configuration_that_begins_as_a_script_is_told_all_the_same(staged: Staged) -> None:
    """`#!` begins a comment in most configuration files, and code in a directory that holds none of the image's is scratch."""
    wanted = {put(staged, name, text=b"#!/x\ndo = evil\n") for name in OBEYED}
    assert wanted - told(staged) == set()


def test_what_tools_obey_in_a_home_is_told_as_grave(staged: Staged) -> None:
    wanted = {put(staged, f"{home}/{name}") for home in ("root", "home/web") for name in HOMES}
    assert wanted - told(staged, Level.HIGH) == set()


def test_a_program_where_programs_are_looked_for_is_told_as_grave(staged: Staged) -> None:
    wanted = {put(staged, name, 0o755) for name in PROGRAMS}
    assert wanted - told(staged, Level.HIGH) == set()


@pytest.mark.parametrize(("path", "target"), LINKS)
def test_a_link_that_leads_from_where_things_are_obeyed_to_a_scratch_directory_is_told(staged: Staged, path: str, target: str) -> None:
    place = staged.inside / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    assert b"/" + path.encode() in told(staged)


def test_what_services_write_beside_all_that_is_not_told(staged: Staged) -> None:
    for name in QUIET:
        put(staged, name)
    put(staged, "tmp/x/bin/z", 0o755)
    assert told(staged, Level.LOW) == set()


def test_what_is_put_at_the_end_of_a_link_of_the_image_is_judged_by_where_the_link_is(tmp_path: Path) -> None:
    """A link that leads nowhere, or into a directory of data, and is obeyed: nothing changes but what it leads to."""
    with Staged(tmp_path / "staged") as staged:
        for name in ("etc/cron.d", "etc/nginx", "etc/httpd", "root", "srv/data", "srv/site", "run", "tmp"):
            (staged.image / name).mkdir(parents=True)
        (staged.image / "srv/data/notes").write_bytes(b"as it came\n")
        links = (
            ("etc/cron.d/job", "/tmp/job"), ("etc/ld.so.preload", "../srv/data/preload"), ("etc/nginx/conf.d", "/srv/site"),
            ("root/.config", "/srv/data"), ("root/.bashrc", "/srv/data/notes"), ("etc/httpd/run", "/run/httpd"), ("etc/motd", "/run/motd"),
        )  # fmt: skip
        for link, target in links:
            (staged.image / link).symlink_to(target)
        staged.start()
        wanted = {put(staged, name) for name in ("tmp/job", "srv/data/preload", "srv/site/evil.conf", "srv/data/git/config")}
        wanted.add(put(staged, "srv/data/notes"))
        for name in ("run/httpd/httpd.pid", "run/motd", "srv/data/state", "tmp/job2"):
            put(staged, name)
        assert told(staged) == wanted
        assert told(staged, Level.HIGH) == wanted - {b"/srv/site/evil.conf"}
