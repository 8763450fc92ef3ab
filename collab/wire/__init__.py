"""Bytes <-> messages. Nothing here does I/O, knows the time or imports asyncio."""
