"""Intact keeps running Kubernetes containers identical to the images they were started from.

The packages are the flow: `ingest` → `baseline`, `observe` → `compare` → `decide` → `act` → `notify`, `audit`. They share the
records of `model` and nothing else; `adapters` implement their ports; `run` wires them into processes (see ARCHITECTURE.md).
"""
