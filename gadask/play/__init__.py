"""Playing: one policy in one environment, or many side by side."""
