"""The controller's HTTPS API: for agents (`/v1/reports`, `/v1/plan`, …) and for people (`/v1/status`, `/v1/incidents`, …)."""
