"""Genomes: the noise table, the random streams, and what a genome's indices mean."""
