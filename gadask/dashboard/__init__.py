"""A gadask page in the Dask dashboard: the master reports, the scheduler remembers, Bokeh draws.

- `events.py`: what a master reports, as plain dictionaries, on the scheduler's event topic `gadask`.
- `history.py`: the scheduler plugin that keeps them, so that a page opened in the middle of a run shows all of it.
- `shown.py`: which of its runs are shown, in which order and colours.
- `figures.py`: one figure a question, drawn from a history; `standing.py`: the table above them; `positions.py`: where
  episodes ended, beside them; `plots.py`: how plots look.
- `page.py`: the page `/ga`, and each figure as `/individual-ga-…` for JupyterLab's Dask extension.
"""
