"""The master: drives generations, keeps the nodes busy, and keeps the books."""
