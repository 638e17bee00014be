"""Measurements of a machine, for those who will play on it."""
