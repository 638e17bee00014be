"""Tables in LaTeX: every line is what it must be, and every character stands for itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.analysis.latex import escape, latex_table

_TOKEN = re.compile(
    r"\\(?:text(?:backslash|asciicircum|asciitilde|less|greater|bar|quotedbl)|dots)\{\}|\\[{}$&#%_]"
    r"|\$(?:\\pm|-|\\times|\\sigma)\$|[^\\{}$&#%_^~<>|\"]"
)
"""What an escaped text may be made of."""

SPECIAL = '\\{}$&#%_^~<>|"±−×σ–… aB1.,*[]'


def body(table: str) -> list[list[str]]:
    """Return the rows of a table, head included, checked strictly line by line."""
    lines = table.splitlines()
    assert lines[0].startswith("% needs \\usepackage{booktabs}")
    assert lines[1:3] == ["\\begin{table}", "\\centering"]
    columns = re.fullmatch(r"\\begin\{tabular\}\{(lr*)\}", lines[3])
    assert columns
    assert lines[4] == "\\toprule"
    end = lines.index("\\bottomrule")
    inside = lines[5:end]
    assert inside.count("\\midrule") == 1
    rows = []
    for line in inside:
        if line != "\\midrule":
            assert line.endswith(" \\\\")
            cells = re.split(r"(?<!\\) & ", line.removesuffix(" \\\\"))
            assert len(cells) == len(columns[1])
            for cell in cells:
                text = cell.removeprefix("{}")
                assert not re.match(r"[\[*]", cell)  # would be an argument of the line's end before it
                assert "".join(_TOKEN.findall(text)) == text
            rows.append(cells)
    tail = lines[end + 1 :]
    assert tail[0] == "\\end{tabular}"
    assert re.fullmatch(r"\\caption\{.*\}", tail[1])
    caption = tail[1].removeprefix("\\caption{").removesuffix("}")
    assert "".join(_TOKEN.findall(caption)) == caption
    assert re.fullmatch(r"\\label\{[a-z:]+\}", tail[2])
    assert tail[3:] == ["\\end{table}"]
    return rows


@given(st.text(st.sampled_from(SPECIAL)))
def test_every_special_character_is_escaped(text: str) -> None:
    escaped = escape(text)
    assert "".join(_TOKEN.findall(escaped)) == escaped
    assert len(_TOKEN.findall(escaped)) == len(text) + text.count("–")


def test_a_table_by_hand() -> None:
    rows = [["Q*bert & co", "1,248 ± 54", "–"], ["[odd]_1", "50 %", "−5"]]
    table = latex_table(["game", "gadask, 2M frames", "ES, 1B frames, #1"], rows, "100 % of {it}", "tab:scores")
    assert body(table) == [
        ["", "", "ES"],
        ["", "gadask", "1B frames"],
        ["game", "2M frames", "\\#1"],
        ["Q*bert \\& co", "1,248 $\\pm$ 54", "--"],
        ["{}[odd]\\_1", "50 \\%", "$-$5"],
    ]
    assert "\\caption{100 \\% of \\{it\\}}" in table


@given(st.lists(st.lists(st.text(st.sampled_from(SPECIAL)), min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_cells_make_a_table(rows: list[list[str]]) -> None:
    assert len(body(latex_table(["game", "a", "b, c"], rows, "x_y", "tab:x"))) == 2 + len(rows)


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="expected rows of 2 cells"):
        latex_table(["game", "a"], [["Amidar"]], "", "tab:x")
