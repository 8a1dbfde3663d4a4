"""Stock services as images: Debian's packages above one base they share, and the entry point such an image usually has.

In: a name of `SERVICES`. Out: an OCI layout of two layers; the layers are cached, the base is made once for all.
Beside this file there is one directory a service: `setup`, which runs once in the image with its packages, and the files it puts there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab import oci
from lab.binaries import finished_directory, lock
from lab.debian import LEFT_OUT, SOURCE_DATE_EPOCH, SUITE
from lab.oci import ImageLayout, PackedLayer, architecture, pack_layer
from lab.overlay_layer import change_root, describe_files, pack_upper
from lab.processes import run
from lab.progress import step
from lab.settings import LabError, cache_dir

RECIPE = 1
FILES = Path(__file__).parent
BASE_PACKAGES = ("ca-certificates", "procps")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

INSTALL = """
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
mkdir -p /usr/share/man/man1
apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io {left_out} {packages} >/tmp/log 2>&1 || {{
  tail -n 30 /tmp/log >&2; exit 1;
}}
rm -f /usr/sbin/policy-rc.d
export FILES=/tmp/files
sh -eu /tmp/files/setup
rm -rf /var/lib/apt/extended_states /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/debconf/*-old /var/cache/ldconfig
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One image: `packages` on the base, and how it starts."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    entrypoint: tuple[str, ...] = ("/entrypoint.sh",)
    user: str = ""
    directory: str = "/"
    environment: tuple[str, ...] = ()
    stop_signal: str = ""
    files: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", FILES / self.name)


SERVICES: Mapping[str, Service] = {
    service.name: service
    for service in (
        Service(
            name="nginx",
            packages=("nginx-light", "gettext-base"),
            command=("nginx", "-g", "daemon off;"),
            stop_signal="SIGQUIT",
            environment=("UPSTREAM_HOST=127.0.0.1",),
        ),
        Service(
            name="apache-php",
            packages=("apache2", "libapache2-mod-php", "smarty4"),
            command=("apache2", "-DFOREGROUND"),
            entrypoint=("/entrypoint.sh",),
            stop_signal="SIGWINCH",
        ),
        Service(
            name="haproxy",
            packages=("haproxy",),
            command=("haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"),
            entrypoint=(),
            user="haproxy",
            stop_signal="SIGUSR1",
        ),
        Service(
            name="postgresql",
            packages=("postgresql-15",),
            command=("postgres",),
            environment=(f"PATH=/usr/lib/postgresql/15/bin:{PATH}", "PGDATA=/var/lib/postgresql/data"),
            stop_signal="SIGINT",
        ),
        Service(name="mariadb", packages=("mariadb-server",), command=("mariadbd",)),
        Service(name="redis", packages=("redis-server",), command=("redis-server", "/etc/redis/redis.conf"), directory="/data"),
        Service(name="memcached", packages=("memcached",), command=("memcached", "-m", "32"), entrypoint=(), user="memcache"),
        Service(name="rabbitmq", packages=("rabbitmq-server",), command=("rabbitmq-server",), environment=("HOME=/var/lib/rabbitmq",)),
        Service(name="mosquitto", packages=("mosquitto",), command=("mosquitto", "-c", "/mosquitto/config/mosquitto.conf")),
        Service(
            name="gunicorn",
            packages=("gunicorn", "python3-flask"),
            command=("gunicorn", "-b", "0.0.0.0:8000", "-w", "2", "-p", "/run/gunicorn.pid", "app:app"),
            entrypoint=(),
            directory="/app",
        ),
        Service(
            name="node",
            packages=("nodejs",),
            command=("node", "server.js"),
            user="1000680000:0",
            directory="/app",
            environment=("HOME=/home/node",),
        ),
        Service(
            name="tomcat",
            packages=("tomcat10", "zip"),
            command=("catalina.sh", "run"),
            entrypoint=(),
            directory="/usr/local/tomcat",
            environment=(
                f"PATH=/usr/local/tomcat/bin:{PATH}",
                "CATALINA_HOME=/usr/share/tomcat10",
                "CATALINA_BASE=/usr/local/tomcat",
                "JAVA_OPTS=-Xmx96m -XX:TieredStopAtLevel=1",
            ),
        ),
        Service(name="puma", packages=("puma", "ruby-sinatra"), command=("puma", "-C", "config/puma.rb"), entrypoint=(), directory="/app"),
        Service(name="postfix", packages=("postfix",), command=("postfix", "start-fg"), environment=("MAIL_NAME=mail.shop.example",)),
        Service(name="exim4", packages=("exim4-daemon-light",), command=("exim4", "-bdf", "-q30m")),
        Service(name="cron", packages=("cron", "logrotate"), command=("cron", "-f")),
        Service(
            name="sshd",
            packages=("openssh-server", "openssh-client"),
            command=("/usr/sbin/sshd", "-D", "-e"),
            environment=("LOGIN=deploy",),
        ),
    )
}


def service_image(service: Service, directory: Path, name: str) -> ImageLayout:
    """The image of `service` under `name`, in `directory`; minutes the first time, for its packages."""
    environment = dict(one.split("=", 1) for one in ("PATH=" + PATH, *service.environment))
    return oci.write_layout(
        directory,
        name,
        [_base(), service_layer(service)],
        entrypoint=service.entrypoint,
        command=service.command,
        environment=[f"{variable}={value}" for variable, value in environment.items()],
        user=service.user,
        working_directory=service.directory,
        stop_signal=service.stop_signal,
    )


def service_layer(service: Service) -> PackedLayer:
    words = [RECIPE, _base_key(), INSTALL, sorted(service.packages), describe_files(service.files)]
    target = cache_dir() / f"service-{service.name}-{_hash(words)}"
    if not (target / "layer.json").exists():
        _base()
        with lock(target.name):
            if not (target / "layer.json").exists():
                with finished_directory(target) as partial, step(f"image of {service.name}"):
                    _build(service, partial)
    return _described(target)


def _build(service: Service, partial: Path) -> None:
    left_out = " ".join(f"-o Dpkg::Options::=--path-exclude='{path}'" for path in LEFT_OUT[:4])
    script = INSTALL.format(left_out=left_out, packages=" ".join(service.packages))
    base = _base_directory()
    build = partial / "build"
    build.mkdir()
    upper = change_root(base / "root", build, script, lists=base / "lists", files=service.files)
    pack_upper(upper, partial / "layer.tar")
    _keep(partial, partial / "layer.tar")
    shutil.rmtree(build)


def _base() -> PackedLayer:
    target = _base_directory()
    if not (target / "layer.json").exists():
        if not shutil.which("mmdebstrap"):
            raise LabError("no mmdebstrap: `make tools` installs it")
        with lock(target.name):
            if not (target / "layer.json").exists():
                with finished_directory(target) as partial, step("base of the services' images"):
                    _bootstrap(partial)
    return _described(target)


def _bootstrap(partial: Path) -> None:
    """A minimal root as a directory, as a layer, and the lists of packages that belong to it."""
    root, archive = partial / "root", partial / "base.tar"
    left_out = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT[:4]]
    mirror = os.environ.get("INTACT_DEBIAN_MIRROR")
    keep = [
        "--skip=cleanup/apt/lists",
        "--customize-hook=" + f'cp -a "$1/var/lib/apt/lists" {partial}/lists; find "$1/var/lib/apt/lists" -mindepth 1 -delete',
    ]
    clean = '--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; find "$1/var/log" "$1/var/cache" -type f -delete'
    command = ["mmdebstrap", "--quiet", '--aptopt=Acquire::Retries "3"', "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}"]
    command += [*left_out, *keep, clean, SUITE, str(root), *([mirror] if mirror else [])]
    run(*command, env={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "DEBIAN_FRONTEND": "noninteractive"})
    pack_upper(root, archive)
    _keep(partial, archive)


def _keep(directory: Path, archive: Path) -> None:
    """The archive as a packed layer, and beside it what it is."""
    layer = pack_layer(archive, directory, "zstd")
    archive.unlink()
    (directory / "layer.json").write_text(json.dumps({**asdict(layer), "path": layer.path.name}))


def _described(directory: Path) -> PackedLayer:
    described = json.loads((directory / "layer.json").read_text())
    return PackedLayer(**{**described, "path": directory / described["path"]})


def _base_directory() -> Path:
    return cache_dir() / f"service-base-{_base_key()}"


def _base_key() -> str:
    return _hash([RECIPE, SUITE, architecture(), SOURCE_DATE_EPOCH, BASE_PACKAGES, LEFT_OUT])


def _hash(words: object) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
