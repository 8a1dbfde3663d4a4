"""The node's half: what runs beside the containers."""
