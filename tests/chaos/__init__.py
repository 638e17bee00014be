"""Chaos: small runs on a small cluster, while injectors break everything that gadask promises to survive.

`python -m tests.chaos --seconds 900 --seed S` starts a Dask scheduler and two nodes as processes of their own, plays
each kind of run (`runs.py`) once undisturbed, and then again and again while `injectors.py` strikes at moments that
follow from the seed. Every run that ends is checked (`checks.py`); at the end nothing may be left (`processes.py`).
"""
