"""Evolve neural-network policies with a distributed genetic algorithm on Dask."""
