"""What a process is told by its environment (`INTACT_*`): read once at the start, checked, and then only passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from intact.adapters.store.object_settings import ObjectSettings
from intact.model.digest import Algorithms
from intact.model.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """`intact agent`: everything it needs to watch one node and to reach its controller."""

    node: str
    controller_url: str
    server_name: str
    token_file: Path
    ca_file: Path
    trust_file: Path
    state_dir: Path
    runtime_socket: str
    layer_rate_bytes_s: int
    baseline_cache_bytes: int
    best_tier: str
    """The best way of hearing changes that may be used: `A`, `B` or `C`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """`intact controller`: everything it needs beside the cluster it runs in."""

    namespace: str
    identity: str
    service: str
    state_dir: Path
    listen_host: str
    listen_port: int
    agent_service_account: str
    syslog: str
    webhook_url: str
    webhook_secret: str
    database_url: str
    """Where several replicas share what they remember; empty: in a file of `state_dir`."""
    corroborating_nodes: int
    registries_file: Path | None
    trust_dir: Path | None
    sigstore_trusted_root: Path | None
    """`trusted_root.json` of somebody's own Sigstore; None for the public one."""
    rotate_keys_after_s: float
    algorithms: Algorithms
    objects: ObjectSettings | None
    """Where layer tables are, if not in `state_dir`."""
    retain_baselines_s: float


def read_agent_settings(env: Mapping[str, str]) -> AgentSettings:
    """Raises InputError naming the variable that is missing or wrong.

    Without `INTACT_CONTROLLER_URL` the controller is dialled at the address that the kubelet writes into the environment of every pod of
    the Service's namespace, so that the agent needs no DNS.
    """
    namespace = env.get("INTACT_NAMESPACE", "intact-system")
    url = env.get("INTACT_CONTROLLER_URL") or _service_url(env)
    return AgentSettings(
        node=_required(env, "INTACT_NODE_NAME"),
        controller_url=url,
        server_name=env.get("INTACT_CONTROLLER_NAME", f"intact-controller.{namespace}.svc"),
        token_file=Path(env.get("INTACT_TOKEN_FILE", "/var/run/intact/token/token")),
        ca_file=Path(env.get("INTACT_CA_FILE", "/var/run/intact/ca/ca.crt")),
        trust_file=Path(env.get("INTACT_TRUST_FILE", "/var/run/intact/ca/trust.json")),
        state_dir=Path(env.get("INTACT_STATE_DIR", "/var/lib/intact")),
        runtime_socket=env.get("INTACT_RUNTIME_SOCKET", ""),
        layer_rate_bytes_s=_number(env, "INTACT_LAYER_RATE_MIB", 20) << 20,
        baseline_cache_bytes=_number(env, "INTACT_BASELINE_CACHE_MIB", 512) << 20,
        best_tier=_one_of(env, "INTACT_TIER", ("A", "B", "C")),
    )


def read_controller_settings(env: Mapping[str, str]) -> ControllerSettings:
    """Raises InputError naming the variable that is missing or wrong."""
    return ControllerSettings(
        namespace=_required(env, "INTACT_NAMESPACE"),
        identity=_required(env, "INTACT_POD_NAME"),
        service=env.get("INTACT_SERVICE", "intact-controller"),
        state_dir=Path(env.get("INTACT_STATE_DIR", "/var/lib/intact")),
        listen_host=env.get("INTACT_LISTEN_HOST", "0.0.0.0"),
        listen_port=_number(env, "INTACT_LISTEN_PORT", 8443),
        agent_service_account=env.get("INTACT_AGENT_SERVICE_ACCOUNT", "intact-agent"),
        syslog=env.get("INTACT_SYSLOG", ""),
        webhook_url=env.get("INTACT_WEBHOOK_URL", ""),
        webhook_secret=env.get("INTACT_WEBHOOK_SECRET", ""),
        database_url=read_database_url(env),
        corroborating_nodes=max(2, _number(env, "INTACT_CORROBORATING_NODES", 2)),
        registries_file=Path(env["INTACT_REGISTRIES_FILE"]) if env.get("INTACT_REGISTRIES_FILE") else None,
        trust_dir=Path(env["INTACT_TRUST_DIR"]) if env.get("INTACT_TRUST_DIR") else None,
        sigstore_trusted_root=Path(env["INTACT_SIGSTORE_TRUSTED_ROOT"]) if env.get("INTACT_SIGSTORE_TRUSTED_ROOT") else None,
        algorithms=Algorithms.choose(env.get("INTACT_ALGORITHMS", "").split()),
        rotate_keys_after_s=86400.0 * _number(env, "INTACT_ROTATE_KEYS_AFTER_DAYS", 365),
        objects=read_object_settings(env),
        retain_baselines_s=86400.0 * _number(env, "INTACT_RETAIN_BASELINES_DAYS", 30),
    )


def read_database_url(env: Mapping[str, str]) -> str:
    """`INTACT_DATABASE_URL`, empty if there is none. `INTACT_DATABASE_CA_FILE` is the authority that signed its server's certificate."""
    url, authority = env.get("INTACT_DATABASE_URL", "").strip(), env.get("INTACT_DATABASE_CA_FILE", "")
    if not url or not authority or "sslrootcert=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}sslrootcert={quote(authority)}"


def read_object_settings(env: Mapping[str, str]) -> ObjectSettings | None:
    """`INTACT_OBJECTS_*`; None without `INTACT_OBJECTS_URL`. Raises InputError naming the variable that is wrong."""
    url = env.get("INTACT_OBJECTS_URL", "").strip()
    if not url:
        return None
    authority = env.get("INTACT_OBJECTS_CA_FILE", "")
    return ObjectSettings(
        url=url,
        endpoint=env.get("INTACT_OBJECTS_ENDPOINT", "").strip(),
        region=env.get("INTACT_OBJECTS_REGION", "").strip(),
        ca_file=Path(authority) if authority else None,
        plain_http=_flag(env, "INTACT_OBJECTS_PLAIN_HTTP"),
        virtual_hosted=_flag(env, "INTACT_OBJECTS_VIRTUAL_HOSTED"),
    )


def _flag(env: Mapping[str, str], name: str) -> bool:
    match env.get(name, ""):
        case "" | "false":
            return False
        case "true":
            return True
        case other:
            raise InputError(f"{name} is neither true nor false: {other!r}")


def _one_of(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """The first is meant where nothing is said."""
    chosen = env.get(name, "") or choices[0]
    if chosen not in choices:
        raise InputError(f"{name} is none of {', '.join(choices)}: {chosen!r}")
    return chosen


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise InputError(f"the environment variable {name} is not set")
    return value


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise InputError(f"{name} is not a positive whole number: {text!r}")
    return int(text)


def _service_url(env: Mapping[str, str]) -> str:
    host = env.get("INTACT_CONTROLLER_SERVICE_HOST", "")
    port = env.get("INTACT_CONTROLLER_SERVICE_PORT", "8443")
    if not host:
        raise InputError(
            "no controller to report to: neither INTACT_CONTROLLER_URL nor INTACT_CONTROLLER_SERVICE_HOST is set",
            hint="the Service intact-controller must exist in the agent's namespace before its pod",
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
