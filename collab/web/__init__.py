"""The ASGI app: WebSockets at every path, and a few HTTP routes."""
