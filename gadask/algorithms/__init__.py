"""Algorithms: who survives a generation."""
