"""Incident, findings, policy, facts, now -> incident and decisions. Pure."""
