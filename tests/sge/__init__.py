"""`--cluster sge` on a real Grid Engine."""
