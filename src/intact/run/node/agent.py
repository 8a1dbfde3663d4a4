"""The agent: the node's half of the flow, a spool, and one HTTPS connection to the controller."""

from __future__ import annotations

import threading
import time

import structlog

from intact.adapters.runtime.discover import find_socket
from intact.adapters.seam.https import Endpoint, HttpsCluster
from intact.adapters.seam.sender import Sender
from intact.adapters.seam.spool import Spool
from intact.run.settings import AgentSettings
from intact.run.storage.keeping import open_own_key, open_store
from intact.run.trust import PinnedTrust

from .baselines import NodeBaselines
from .eyes import HostEyes
from .process import NodeProcess

log = structlog.get_logger()


def run_agent(settings: AgentSettings, stop: threading.Event) -> None:
    """Watches this node until `stop` is set. Raises IntactError where it cannot begin."""
    socket = find_socket(settings.runtime_socket or None)
    endpoint = Endpoint(
        url=settings.controller_url, server_name=settings.server_name, ca_file=settings.ca_file, token_file=settings.token_file
    )
    cluster = HttpsCluster(endpoint, settings.node, time.time)
    spool = Spool(settings.state_dir / "spool", time.time)
    sender = Sender(spool, cluster)
    signer = open_own_key(settings.state_dir / "baselines" / "own")
    trust = PinnedTrust(settings.trust_file, remembered=settings.state_dir / "trust.json")
    store = open_store(settings.state_dir / "baselines", signer, trust.read, renews=True)
    eyes = HostEyes(layer_rate_bytes_s=settings.layer_rate_bytes_s)
    process = NodeProcess(
        node=settings.node,
        socket=socket,
        state_dir=settings.state_dir,
        eyes=eyes,
        baselines=NodeBaselines(
            store,
            socket=socket,
            read_layer=eyes.read_layer,
            at_most_bytes=settings.baseline_cache_bytes,
            fetch=cluster.fetch_baseline,
            trust=trust.read,
        ),
        send=spool.append,
        revoked=trust.revoked,
        best_tier=settings.best_tier,
    )
    log.info("agent_started", node=settings.node, socket=socket, controller=settings.controller_url, waiting=len(spool))
    sender.start()
    try:
        process.run(stop, cluster)
    finally:
        sender.stop()
        spool.close()
        cluster.close()
