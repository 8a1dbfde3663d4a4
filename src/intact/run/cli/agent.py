"""`intact agent`: watches one Kubernetes node. Configured by `INTACT_*`; started by the chart."""

from __future__ import annotations

import os

import click

from intact.run.descriptors import raise_descriptor_limit
from intact.run.logs import configure_logs
from intact.run.node.agent import run_agent
from intact.run.settings import read_agent_settings
from intact.run.signals import stop_on_signals


@click.command(short_help="Watches this node; the chart starts it.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def command(verbose: bool) -> None:
    """Watches this Kubernetes node (started by the chart, configured by INTACT_* variables)."""
    configure_logs(verbose=verbose)
    raise_descriptor_limit()
    run_agent(read_agent_settings(os.environ), stop_on_signals())
