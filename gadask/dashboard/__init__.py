"""A gadask page in the Dask dashboard: the master reports, the scheduler remembers, Bokeh draws.

- `events.py`: what a master reports, as plain dictionaries, on the scheduler's event topic `gadask`.
- `history.py`: the scheduler plugin that keeps them, so that a page opened in the middle of a run shows all of it.
- `shown.py`: which of its runs are shown, in which order and colours; `tasks.py`: of which task.
- `figures.py`: what figures have in common, each of which answers a question; `plots.py`: what they draw.
- `standing.py`: the table; `curves.py`: returns, lengths, speed; `nodes.py`: nodes and what they do; `positions.py`:
  where episodes ended.
- `look.py`, `look.css`: light and dark.
- `page.py`, `page.html`: the page `/ga`, and each figure as `/individual-ga-…` for JupyterLab's Dask extension.
"""
