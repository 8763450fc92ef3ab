"""What the tests stand on: a real server process, real editors in Node, a hand-made client, and a faulty network.

`from tests.support.server import Server`, and so on:

`support.server.Server`  `collab serve` as a subprocess: start, kill, restart, its logs, /health and /metrics.
`support.node.Node`      many real y-websocket providers (`Editor`) in one Node process (tests/interop/driver.mjs).
`support.raw`            a WebSocket client written by hand, frames built by a second, independent codec; `Peer` adds a
                         pycrdt document to it.
`support.channels`       pycrdt's own Provider on a real connection.
`support.proxy.Proxy`    a TCP proxy between client and server that stalls, delays, blackholes and resets.
`support.replay`         the recorded session of two people, replayed through a server by two real providers.
`support.figures`        a fixture for what tests measure, printed at the end of the run.
`support.waiting.until`  waiting for what has no event.
`support.ledger.Ledger`  which edit was sent, and who has seen it.
"""
