"""Telling others what happens: webhooks, from the store's outbox (docs/design/0011-webhooks.md)."""
