"""`python -m lab`: the clusters and images of the harness from a terminal. Results on stdout, talk on stderr."""

import os
import subprocess
import sys
import time

import click

from lab import binaries, install, product
from lab.claim import is_running, remove_cluster
from lab.cluster import Cluster, describe_environment
from lab.node import enter_command
from lab.plan import MAX_ID, MAX_NODES, cluster_state, load_plan
from lab.processes import terminate_as_interrupt
from lab.progress import step
from lab.settings import REPOSITORY, LabError, cache_dir, state_dir

cluster_id = click.option("--id", "id", type=click.IntRange(0, MAX_ID), default=0, help="Which cluster.")


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command(name="binaries")
def build_binaries() -> None:
    """Build the Kubernetes programs, and the newer container runtime that some tests want, unless they are in the cache."""
    binaries.ensure_newer_runtime()
    print(binaries.ensure_binaries())


@main.command()
@cluster_id
@click.option("--nodes", type=click.IntRange(1, MAX_NODES), default=1, show_default=True)
@click.option("--newer-runtime", is_flag=True, help="With containerd 2 and runc 1.4, built here: for user-namespaced pods.")
def up(id: int, nodes: int, newer_runtime: bool) -> None:
    """Start a cluster."""
    become_root()
    began = time.monotonic()
    cluster = Cluster(nodes=nodes, id=id, newer_runtime=newer_runtime)
    cluster.up()
    say(f"cluster {id}: {nodes} node{'s' if nodes > 1 else ''} Ready after {time.monotonic() - began:.1f} s")
    print(describe_environment(cluster.plan))


@main.command(name="cluster")
@cluster_id
@click.option("--nodes", type=click.IntRange(1, MAX_NODES), default=1, show_default=True)
def start_cluster(id: int, nodes: int) -> None:
    """Start a cluster, unless it is up, and install Intact as it is in this tree."""
    become_root()
    if is_running(id):
        cluster = Cluster.running(id)
        say(f"cluster {id} is up already, with {cluster.plan.nodes} node(s)")
        install.install(cluster)
    else:
        cluster = Cluster(nodes=nodes, id=id)
        with step(f"cluster {id}: {nodes} node(s)"):
            cluster.up()
        try:
            install.install(cluster)
        except BaseException:
            cluster.down()
            raise
    print(describe_environment(cluster.plan, [install.write_commands(cluster)]))


@main.command()
@click.option("--push", "registry", metavar="HOST:PORT", help="Copy it to this registry, too.")
def image(registry: str | None) -> None:
    """Build the container image of Intact, unless it is in the cache."""
    become_root()
    built = product.ensure_image()
    say(f"{product.size_bytes(built) / 1e6:.1f} MB to download, {built.manifest_digest}")
    print(built.push(registry, f"intact:{product.version()}") if registry else built.source)


@main.command()
@cluster_id
def down(id: int) -> None:
    """Remove a cluster and everything of it."""
    become_root()
    began, ran = time.monotonic(), is_running(id)
    remove_cluster(id)
    say(f"cluster {id}: {'down' if ran else 'was not up, nothing left'} after {time.monotonic() - began:.1f} s")


@main.command()
@cluster_id
def env(id: int) -> None:
    """Print lines to evaluate: KUBECONFIG, REGISTRY, PATH."""
    plan = load_plan(cluster_state(id))
    print(describe_environment(plan, [tools] if (tools := plan.state / "bin").exists() else []))


@main.command(context_settings={"ignore_unknown_options": True})
@cluster_id
@click.option("-n", "--node", "number", default=1, show_default=True, help="Which node.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def sh(id: int, number: int, command: tuple[str, ...]) -> None:
    """Run COMMAND (default: bash) on a node."""
    become_root()
    cluster = Cluster.running(id)
    words = [*enter_command(cluster.plan.node(number)), *(command or ("bash",))]
    sys.exit(subprocess.run(words, env=cluster.environment).returncode)


def become_root() -> None:
    """Starts this very command again through sudo when we are not root, with the same cache and state."""
    if os.geteuid() == 0:
        return
    for directory in (cache_dir(), state_dir().parent):
        directory.mkdir(parents=True, exist_ok=True)  # so that what is above them belongs to the user
    own = {"INTACT_CACHE": str(cache_dir()), "INTACT_STATE": str(state_dir()), "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"}
    own["PYTHONDONTWRITEBYTECODE"] = "1"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("INTACT_", "PATH", "GO"))}
    settings = [f"{name}={value}" for name, value in {**kept, **own}.items()]
    try:
        os.execvp("sudo", ["sudo", "env", *settings, sys.executable, "-m", "lab", *sys.argv[1:]])
    except FileNotFoundError:
        raise LabError("nodes need root, and there is no sudo: run this as root") from None


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    try:
        with terminate_as_interrupt():
            main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except LabError as error:
        say(f"error: {error}")
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
