"""What a notebook's cell shows, complete in itself: pictures, films and pages stay in an export to HTML."""

from __future__ import annotations

import base64
import html
import sys
from pathlib import Path

from bokeh.models import LayoutDOM

from gadask.analysis import figures

_FRAME_HEIGHT = 600  # pixels


class Film:
    """A film in a GIF or MP4 file, which a cell shows with the bytes in it.

    Example:
        >>> import gadask
        >>> gadask.open_run("runs/mine").film().path.name
        'elite.gif'
    """

    path: Path

    def __init__(self, path: Path) -> None:
        """Show the film of a file as it is now."""
        self.path = path
        self._content = path.read_bytes()

    def __repr__(self) -> str:
        return f"<film {self.path}, {len(self._content):,} bytes>"

    def _repr_html_(self) -> str:
        """Return the film itself, in a data URI."""
        data = base64.b64encode(self._content).decode()
        about = html.escape(str(self.path), quote=True)
        if self.path.suffix == ".mp4":
            source = f"data:video/mp4;base64,{data}"
            return f'<video controls loop autoplay muted title="{about}" style="max-width:100%" src="{source}"></video>'
        return f'<img alt="{about}" title="{about}" style="max-width:100%" src="data:image/gif;base64,{data}">'


class Figure:
    """An interactive figure of Bokeh's, which a cell shows and `save` writes.

    Example:
        >>> import gadask
        >>> gadask.open_run("runs/mine").curve().save("curve.html").name
        'curve.html'
    """

    layout: LayoutDOM
    """Bokeh's own object, to change or to put into a layout."""
    title: str

    def __init__(self, layout: LayoutDOM, title: str) -> None:
        """Show a figure or layout."""
        self.layout = layout
        self.title = title

    def save(self, path: Path | str) -> Path:
        """Write an HTML file that opens offline, or with Chromium a PNG or SVG; returns the path.

        Raises:
            UsageError: `path` ends in something else, or it is a picture and there is no Chromium here.
            RecordError: the file cannot be written, or Chromium failed.
        """
        return figures.save(self.layout, path, self.title)

    def __repr__(self) -> str:
        return f"<figure {self.title!r}; .save('figure.html') writes it>"

    def _ipython_display_(self) -> None:
        """Show the figure; a terminal's IPython shows what `repr` says."""
        from IPython import get_ipython

        if not hasattr(get_ipython(), "kernel"):
            raise NotImplementedError
        from bokeh.io import output_notebook, show
        from bokeh.io.state import curstate
        from bokeh.resources import INLINE

        # Bokeh's program is in the page once; a cell of Colab is its own page.
        if not curstate().notebook or "google.colab" in sys.modules:
            output_notebook(INLINE, hide_banner=True)
        show(self.layout)


class Report:
    """A report in an HTML file, which a cell shows in a frame with the whole page in it.

    Example:
        >>> import gadask
        >>> gadask.open_run("runs/mine").report().path.name
        'report.html'
    """

    path: Path

    def __init__(self, path: Path) -> None:
        """Show the page of a file as it is now."""
        self.path = path
        self._page = path.read_text()

    def __repr__(self) -> str:
        return f"<report {self.path}>"

    def _repr_html_(self) -> str:
        """Return where the file is, and the page in a frame."""
        style = f"width:100%;height:{_FRAME_HEIGHT}px;border:1px solid rgba(128,128,128,0.5)"
        page = html.escape(self._page, quote=True)
        name = html.escape(str(self.path), quote=True)
        return f'<div>{name}</div><iframe title="{name}" style="{style}" srcdoc="{page}"></iframe>'
