"""Kubernetes: what the controller reads of a cluster, writes to it and does in it. The agent imports nothing of this."""
