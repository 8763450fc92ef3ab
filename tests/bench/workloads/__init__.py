"""The workloads, W1 to W10, and growth. Each gives figures for one kind of server."""
