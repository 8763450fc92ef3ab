"""The admin HTTP API under `/api/v1` (docs/reference/api.md)."""
