"""The run directory: every file that a run writes, and how it is read again."""

CLUSTER_FOLDER = "cluster"
"""Folder of a run directory that belongs to its cluster, which may be opened before the run begins."""
