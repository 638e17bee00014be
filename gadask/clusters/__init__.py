"""Clusters: where nodes come from. Each kind is its own file, and an entry in `kinds.py`.

A kind is an asynchronous context manager that yields a `Cluster` and has everything it started gone when it ends. All
connections use TLS with certificates made for this one cluster, on one machine too: whoever reaches a plain Dask port
can run code as its owner.
"""
