"""`intact controller`: the cluster's half of the flow. Configured by `INTACT_*`; started by the chart."""

from __future__ import annotations

import os

import click

from intact.run.cluster.controller import run_controller
from intact.run.descriptors import raise_descriptor_limit
from intact.run.logs import configure_logs
from intact.run.settings import read_controller_settings
from intact.run.signals import stop_on_signals


@click.command(short_help="Decides and acts for a cluster; the chart starts it.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def command(verbose: bool) -> None:
    """Takes reports, decides, acts and records for a cluster (started by the chart, configured by INTACT_* variables)."""
    configure_logs(verbose=verbose)
    raise_descriptor_limit()
    run_controller(read_controller_settings(os.environ), stop_on_signals())
