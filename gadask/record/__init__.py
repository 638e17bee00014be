"""The run directory: every file that a run writes, and how it is read again."""
