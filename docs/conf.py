"""The docs site: `make docs` builds it into site/ with Sphinx, and every warning is an error.

Nothing in it is loaded from elsewhere, and its pages, the search among them, open as files.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))  # `gadask`, `jobs`, `analysis` and `docs.hooks` are those of this checkout

_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_REPOSITORY = _PROJECT.get("urls", {}).get("Repository")
"""Address of the repository, `Repository` under `[project.urls]`; without one no link is shown."""

project = "gadask"
version = _PROJECT["version"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docs.hooks.generated",
    "docs.hooks.listings",
    "docs.hooks.docstrings",
    "docs.hooks.readme",
]
exclude_patterns = ["hooks", "examples", "benchmarks"]
smartquotes = False  # texts stay as they are written
highlight_language = "bash"  # a block without a language is typed into a shell

copybutton_prompt_is_regexp = True
copybutton_prompt_text = r">>> |\.\.\. "

myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autoclass_content = "both"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["style.css"]
_SECTIONS = ("how-to/*", "algorithms/*", "reference/**", "clusters", "run-directory")
_SINGLE = ("index", "tutorial", "results", "performance", "decisions", "search", "listings/**")
html_sidebars = {page: ["sidebar-nav-bs"] for page in _SECTIONS} | {page: [] for page in _SINGLE}
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "icon_links": [{"name": "Repository", "url": _REPOSITORY, "icon": "fa-solid fa-code-branch"}]
    if _REPOSITORY
    else [],
    "navigation_depth": 3,
    "show_nav_level": 2,
    "show_toc_level": 2,
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "article_header_start": [],
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-light",
    "pygments_dark_style": "a11y-dark",
}
html_context = {"default_mode": "auto"}
