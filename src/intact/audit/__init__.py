"""The record: every step in an append-only Merkle log with signed checkpoints, which anybody can verify offline."""
