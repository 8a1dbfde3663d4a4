"""The cluster's half: what decides, acts, tells and records."""
