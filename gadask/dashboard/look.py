"""How pages look: light or dark as the browser prefers, also when that changes while a page is open.

The server does not know what a browser prefers. So colours are variables of `look.css`, which Bokeh looks up whenever
it paints, and the page repaints when the preference changes.
"""

from __future__ import annotations

from importlib.resources import files

_PREFERS_DARK = "(prefers-color-scheme: dark)"
_WHERE_DARK = {"dark": "all", "light": "not all"}
_REPAINT = f"""
matchMedia("{_PREFERS_DARK}").addEventListener("change", () => {{
  for (const shown of Bokeh.documents)
    for (const root of shown.roots())
      for (const model of root.references())
        if (model.type == "Figure")
          model.change.emit()
}})
"""


def head(theme: str = "") -> str:
    """Return what a page needs in its head; `theme`, `light` or `dark`, overrules the browser."""
    style = read("look.css").replace(_PREFERS_DARK, _WHERE_DARK.get(theme, _PREFERS_DARK))
    return f"<style>{style}</style><script>{_REPAINT}</script>"


def read(name: str) -> str:
    """Return a file of this room."""
    return files("gadask.dashboard").joinpath(name).read_text("utf-8")
