"""Sweeps: the runs of a study on one set of nodes."""
