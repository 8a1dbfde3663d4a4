"""The services of the benchmark as Deployments, and what happens to each in a normal life: load, log rotation, a configuration reload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.noise import load

CONTAINER = "main"
NODE = "node1"
"""Where all pods run: to this node the machine has a way."""
APACHE = "mv /var/log/apache2/access.log /var/log/apache2/access.log.1; . /etc/apache2/envvars; apache2 -k graceful"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`service` is a name of `lab.services`. `ready`: a port, or a command in the container. `load`: one round against a pod's address;
    `inside`: one round as a shell script in the container, where no client on the machine speaks the protocol. `life`: a shell script for
    log rotation and reload."""

    service: str
    ready: int | tuple[str, ...]
    life: str
    load: Callable[[str], None] | None = None
    inside: str = ""
    memory: str = "256Mi"
    page: str = ""
    """What the probe asks for by HTTP on the port `ready`."""
    cpu_m: int = 20
    """Thousandths of a CPU that are kept for it: without any, a service that starts slowly gets nothing on a busy machine."""


WORKLOADS: tuple[Workload, ...] = (
    Workload(service="nginx", ready=80, page="/", load=load.nginx, life="nginx -s reopen; nginx -s reload"),
    Workload(service="apache-php", ready=80, page="/index.php", load=load.apache, life=APACHE),
    Workload(service="haproxy", ready=8080, page="/", load=load.haproxy, life="kill -USR2 1"),
    Workload(
        service="postgresql",
        ready=("pg_isready", "-q", "-h", "127.0.0.1"),
        load=load.postgresql,
        life="psql -qU postgres -c 'SELECT pg_rotate_logfile()' -c 'SELECT pg_reload_conf()' -c CHECKPOINT -c 'VACUUM FULL' >/dev/null",
    ),
    Workload(
        service="mariadb",
        ready=("mariadb-admin", "ping", "--silent", "-h", "127.0.0.1"),
        inside="mariadb shop -e \"INSERT INTO sale (what) VALUES ('thing'); SELECT count(*) FROM sale\" >/dev/null",
        life="mariadb-admin flush-logs flush-tables reload",
        memory="512Mi",
        cpu_m=60,
    ),
    Workload(service="redis", ready=("redis-cli", "ping"), load=load.redis, life="redis-cli BGREWRITEAOF; kill -HUP 1 || true"),
    Workload(service="memcached", ready=11211, load=load.memcached, life="true"),
    Workload(
        service="rabbitmq",
        ready=15672,
        load=load.rabbitmq,
        life="setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups rabbitmqctl -q -n rabbit@localhost add_vhost spare",
        memory="512Mi",
        cpu_m=150,
    ),
    Workload(
        service="mosquitto",
        ready=1883,
        load=load.mosquitto,
        life="mv /mosquitto/log/mosquitto.log /mosquitto/log/mosquitto.log.1; kill -HUP 1",
    ),
    Workload(service="gunicorn", ready=8000, page="/", load=load.gunicorn, life="kill -HUP 1"),
    Workload(service="node", ready=3000, page="/", load=load.node, life="kill -HUP 1"),
    Workload(
        service="tomcat",
        ready=8080,
        page="/shop/",
        load=load.tomcat,
        life="kill -QUIT 1; mv logs/catalina.*.log logs/old.log",
        memory="512Mi",
        cpu_m=80,
    ),
    Workload(service="puma", ready=9292, page="/", load=load.puma, life="mv log/puma.stdout.log log/puma.stdout.log.1; kill -HUP 1"),
    Workload(service="postfix", ready=25, load=load.mail, life="postfix reload; postfix logrotate || true"),
    Workload(service="exim4", ready=25, load=load.mail, life="savelog -q -c 3 /var/log/exim4/mainlog; kill -HUP 1"),
    Workload(
        service="cron",
        ready=("pgrep", "cron"),
        life="logrotate -f /etc/logrotate.conf; run-parts --regex '^(dpkg|logrotate)$' /etc/cron.daily; kill -HUP 1",
    ),
    Workload(
        service="sshd",
        ready=22,
        inside="ssh -i /home/deploy/.ssh/id_ed25519 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        " -o LogLevel=ERROR deploy@127.0.0.1 'date >>notes'",
        life="kill -HUP 1",
    ),
)


def describe(workload: Workload, namespace: str, image: str, replicas: int = 2) -> Mapping[str, Any]:
    """The Deployment, as people write one: a probe, a limit, and whatever else Kubernetes adds by itself."""
    probe: dict[str, Any] = {"periodSeconds": 3, "timeoutSeconds": 10, "failureThreshold": 100}
    if workload.page:
        probe["httpGet"] = {"port": workload.ready, "path": workload.page}
    elif isinstance(workload.ready, int):
        probe["tcpSocket"] = {"port": workload.ready}
    else:
        probe["exec"] = {"command": list(workload.ready)}
        probe["periodSeconds"] = 10
    container = {
        "name": CONTAINER,
        "image": image,
        "readinessProbe": probe,
        "resources": {"requests": {"cpu": f"{workload.cpu_m}m", "memory": "16Mi"}, "limits": {"memory": workload.memory}},
    }
    pod = {"containers": [container], "terminationGracePeriodSeconds": 5, "nodeSelector": {"kubernetes.io/hostname": NODE}}
    template = {"metadata": {"labels": {"app": workload.service}}, "spec": pod}
    selector = {"matchLabels": {"app": workload.service}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": workload.service, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": selector, "template": template, "progressDeadlineSeconds": 900},
    }
