"""A node: the Dask worker of one machine, its rollout processes, and what they do."""
