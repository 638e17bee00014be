"""The table of baselines: means recalled from a paper come only if asked for, and called so."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gadask.envs.baselines import __main__ as table


@pytest.mark.parametrize("recalled", [False, True])
def test_recalled_means_come_only_if_asked_for(
    recalled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    returns = np.random.default_rng(0).normal(78.3, 10, 20_000)
    monkeypatch.setattr(table, "play_baseline", lambda *_: SimpleNamespace(returns=returns))
    monkeypatch.setattr(sys, "argv", ["baselines", *["--recalled"] * recalled])
    table.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert ("recalled" in head) == recalled
    assert {row.count("|") for row in rows} == {head.count("|")} == {6 if recalled else 4}
    (gittins,) = (row for row in rows if row.startswith("| 100 pulls, 5 arms | gittins |"))
    mean, error = returns.mean(), returns.std() / 20_000**0.5
    assert f"| {mean:.3f} ± {error:.3f} |" in gittins
    assert ("| 78.3 |" in gittins) == recalled
