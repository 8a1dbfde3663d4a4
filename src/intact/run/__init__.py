"""Processes: wiring of stages and adapters, and nothing else."""
