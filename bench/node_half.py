"""The node's half alone, as the agent runs it, without a network: `python -m bench.node_half SOCKET STATE CONTAINERS`.

Everything of the agent is loaded and runs (flow, doorbell, spool, sender); the cluster at the other end takes every report and asks for
nothing. Prints `{"ready": true}` once that many containers are intact and their read-only layers were read.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import intact.run.cli.agent
from intact.adapters.seam.sender import Sender
from intact.adapters.seam.spool import Spool
from intact.model.digest import Digest
from intact.model.seam import Command, Plan, Report
from intact.run.logs import configure_logs
from intact.run.node.baselines import NodeBaselines
from intact.run.node.eyes import HostEyes
from intact.run.node.process import NodeProcess
from intact.run.signals import stop_on_signals
from intact.run.storage.keeping import open_own_key, open_store

assert intact.run.cli.agent
NODE = "bench"


class Taker:
    """Implements `adapters.seam.ports.Cluster`."""

    def __init__(self, containers: int) -> None:
        self._wanted = containers

    def submit(self, report: Report) -> None:
        finished = [covered for covered in report.coverage or () if covered.verdict == "Intact" and covered.layers_verified_at]
        if len(finished) == self._wanted:
            self._wanted = -1
            print(json.dumps({"ready": True}), flush=True)

    def fetch_plan(self, etag: str) -> Plan | None:
        return None if etag else Plan(etag="1")

    def fetch_baseline(self, key: Digest) -> bytes | None:
        return None

    def fetch_commands(self, wait_s: float) -> tuple[Command, ...]:
        time.sleep(wait_s)
        return ()


def main() -> None:
    socket, state, containers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    configure_logs()
    stop = stop_on_signals()
    cluster = Taker(containers)
    spool = Spool(state / "spool", time.time)
    sender = Sender(spool, cluster)
    store = open_store(state / "baselines", open_own_key(state / "baselines" / "own"))
    eyes = HostEyes(layer_rate_bytes_s=20 << 20)
    baselines = NodeBaselines(store, socket=socket, read_layer=eyes.read_layer)
    process = NodeProcess(node=NODE, socket=socket, state_dir=state, eyes=eyes, baselines=baselines, send=spool.append)
    sender.start()
    try:
        process.run(stop, cluster)
    finally:
        sender.stop()
        spool.close()


if __name__ == "__main__":
    main()
