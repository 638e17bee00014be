r"""A table for a paper: LaTeX with booktabs' rules.

Cells and captions are plain text and are escaped. A document needs `\usepackage{booktabs}` and
`\usepackage[T1]{fontenc}`, and puts the file where the table is to stand: `\input{scores.tex}`.
"""

from __future__ import annotations

from collections.abc import Sequence

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "σ": r"$\sigma$",
    "–": "--",
    "…": r"\dots{}",
    "\n": " ",
}


def escape(text: str) -> str:
    """Return a text as LaTeX sets it: every character that has a meaning there stands for itself."""
    return "".join(_ESCAPED.get(character, character) for character in text)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    r"""Return a table with a caption below; the first column is set to the left, the others to the right.

    A `, ` in a column's name begins another line of the head. `label` is what `\ref` calls it by.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    names = [name.split(", ") for name in header]
    height = max(map(len, names))
    head = list(zip(*([""] * (height - len(name)) + name for name in names), strict=True))
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"expected rows of {len(header)} cells")
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        *map(_row, head),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    # A line that begins with [ would be taken for the length of the \\ before it; so would * for its star.
    return " & ".join("{}" + text if (text := escape(cell)).startswith(("[", "*")) else text for cell in cells) + r" \\"
