"""Reports: of a finished run, of one killed half-way, of one generation, of very many, of a study."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from gadask.analysis import run_facts, study_facts
from gadask.analysis.report import main, report_run, report_study
from gadask.analysis.runs import load_run, load_study
from gadask.config import BudgetConfig
from gadask.record.directory import RunDirectory
from gadask.record.elite_test import EliteTest
from tests.analysis.pages import body_of, loads_nothing
from tests.analysis.recorded import SWATCH, record
from tests.analysis.synthetic import synthetic_config, write_run
from tests.benchmarks.bench_report import make_report

SECTIONS = ["Generations", "Lineage", "Config", "Made with"]
OF_NODES = ["What the rollout processes did", "Length bias"]
ALGORITHMS_OWN = ["How the algorithm stands", "Where episodes ended", "Lineage"]


def test_a_report_holds_every_section_and_opens_offline(recorded: dict[str, Path]) -> None:
    text = report_run(load_run(recorded["frostbite"]), film=False).to_html()
    assert loads_nothing(text)
    assert not any(f"<h2>{section}</h2>" in text for section in OF_NODES)
    places = [text.index(f"<h2>{section}</h2>") for section in SECTIONS]
    assert places == sorted(places)
    assert "<h2>Scores</h2>" in text
    assert "population = 2" in text  # the config
    assert "emulator frames" in text


def test_what_a_test_from_before_was_of_and_how_fast_frames_were_played(
    recorded: dict[str, Path], tmp_path: Path
) -> None:
    """Not of fresh episodes, and not those frames that were filled in."""
    path = Path(shutil.copytree(recorded["frostbite"], tmp_path / "run"))
    (path / "elite_test.json").write_text(json.dumps({"generation": 2, "genome": "7", "returns": [1.0, 2.0, 4.0]}))
    run = load_run(path)
    run = replace(run, generations=run.generations.assign(frames_played=6000, wall_s=0.5, process_s=1.0))
    text = report_run(run, film=False).to_html()
    assert "over 3 episodes of at most 30 different starts" in text
    assert "on starts that were drawn anew, at most 30 different ones" in text
    assert "12,000 frames/s, 6,000 a process" in text


def test_the_film_of_the_present_elite_is_taken_and_an_older_one_is_not(run: Path, tmp_path: Path) -> None:
    crowned = load_run(run).generations["elite_generation"].iloc[-1]
    (run / "elite.gif").write_bytes(b"GIF89a, elite of generation %d, seed 3, return 1\0" % crowned)
    text = report_run(load_run(run)).to_html()
    assert f"<figcaption>elite of generation {crowned}, seed 3, return 1</figcaption>" in text
    (run / "elite.gif").write_bytes(b"GIF89a, elite of generation 77, seed 3, return 1\0")
    text = report_run(load_run(run)).to_html()
    assert "<figcaption>elite" not in text
    # Its environment is registered in this process alone.
    assert "No film: env.id: " in text


def test_a_film_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", synthetic_config(10, noise_size=10_000), 2)
    text = report_run(load_run(path)).to_html()
    assert 'src="data:image/gif;base64,' in text
    assert "<figcaption>elite of generation 1, seed " in text
    assert not (path / "elite.gif").exists()
    assert "No film: it would take more than 0 s" in report_run(load_run(path), film_timeout_s=0).to_html()


def test_a_run_of_one_generation_is_reported(recorded: dict[str, Path], tmp_path: Path) -> None:
    assert main([str(recorded["single"]), "--no-film", "--out", str(tmp_path / "report.html")]) == 0
    text = (tmp_path / "report.html").read_text()
    shown = [section for section in SECTIONS if f"<h2>{section}</h2>" in text]
    assert shown == ["Generations", "Config", "Made with"]  # founders alone are no family
    assert "elite, mean ± standard error" in text


def test_a_run_of_a_published_game_without_an_elite_is_reported(tmp_path: Path) -> None:
    config = synthetic_config(10)
    path = write_run(tmp_path / "run", replace(config, env=replace(config.env, id="ALE/Frostbite-v5")), 1)
    run = load_run(path)
    none = {"elite": None, "elite_mean": math.nan, "elite_error": math.nan, "elite_generation": -1}
    run = replace(run, generations=run.generations.assign(**none))
    text = report_run(run, film=False).to_html()
    assert "No elite yet." in text
    assert "<h2>Scores</h2>" not in text
    assert "elite, mean" not in text
    assert "too high" not in text
    assert "No run has an elite yet." in report_study([run], film=False).to_html()


def test_what_processes_did_is_shown_of_several_nodes(tmp_path: Path) -> None:
    config = synthetic_config(10, noise_size=10_000)
    texts = [
        report_run(load_run(write_run(tmp_path / str(n), config, 2, n_nodes=n)), film=False).to_html() for n in (1, 2)
    ]
    shown = [[section for section in OF_NODES if f"<h2>{section}</h2>" in text] for text in texts]
    assert shown == [[], OF_NODES]


def test_length_bias_is_shown_of_a_run_closed_at_its_first_results(tmp_path: Path) -> None:
    config = synthetic_config(10, noise_size=10_000, closing="first")
    text = report_run(load_run(write_run(tmp_path / "run", config, 2, n_nodes=1)), film=False).to_html()
    assert [section for section in OF_NODES if f"<h2>{section}</h2>" in text] == ["Length bias"]


def test_film_and_curve_stand_side_by_side_before_all_else(run: Path) -> None:
    crowned = load_run(run).generations["elite_generation"].iloc[-1]
    (run / "elite.gif").write_bytes(b"GIF89a, elite of generation %d, seed 3, return 1\0" % crowned)
    parts = ['<p class="lead">', '<div class="beside">', "<img ", "data-root-id", "<table", "<h2>"]
    body = body_of(report_run(load_run(run)).to_html())
    places = [body.index(part) for part in parts]
    assert places == sorted(places)
    assert "beside" not in body_of(report_run(load_run(run), film=False).to_html())


def test_the_first_line_says_what_is_finished_reached_and_spent(run: Path) -> None:
    loaded = load_run(run)
    genome = loaded.generations["elite"].iloc[-1]
    test = EliteTest(2, genome, (1.0, 2.0, 3.0))
    line = run_facts.lead(loaded, test)
    assert line.startswith("Truncation selection. Not finished: 3 generations so far. ")
    assert "Best result: 2.00 ± 0.58 (standard error) over 3 fresh episodes." in line
    assert "of play on 1 process, " in line
    assert run_facts.lead(loaded, None).count(" (standard error) over the 3 episodes that crowned it") == 1
    for budget, text in (
        (BudgetConfig(generations=3), "Finished after 3 generations, its budget."),
        (BudgetConfig(frames=100), "Finished after 3 generations: its budget of 100 environment steps is spent."),
        (BudgetConfig(elite_mean=0.0), "Finished after 3 generations: its elite reached 0."),
        (BudgetConfig(generations=12), "Not finished: 3 generations so far, 25 % of its budget."),
    ):
        assert text in run_facts.lead(replace(loaded, config=replace(loaded.config, budget=budget)), test)


def test_every_plus_minus_says_of_what(recorded: dict[str, Path], study: Path) -> None:
    pages = [report_run(load_run(path), film=False) for name, path in recorded.items() if name != "unseen"]
    pages.append(report_study(load_study([study]), film=False))
    for page in pages:
        body = body_of(page.to_html())
        places = [match.start() for match in re.finditer("±", body)]
        assert all("standard error" in body[place : place + 40] for place in places)


def test_the_config_has_the_settings_of_its_own_algorithm_alone(mazes: dict[str, Path]) -> None:
    for kind, path in mazes.items():
        text = report_run(load_run(path), film=False).to_html()
        tables = {"novelty": "[novelty]", "openai-es": "[es]", "truncation": "[ga]"}
        assert [name for name, table in tables.items() if f"\n{table}\n" in text] == [kind]


def test_a_run_killed_half_way_is_reported_on_what_it_closed(tmp_path: Path) -> None:
    whole = record(tmp_path / "whole", SWATCH, 4)
    killed = Path(shutil.copytree(whole, tmp_path / "killed"))
    # Killed between the line of generation 3 and its checkpoint, and inside the line of generation 4.
    shutil.copy(killed / "checkpoint.previous.json", killed / "checkpoint.json")
    with (killed / "generations.jsonl").open("a") as log:
        log.write('{"generation": 4, "par')
    (killed / ".000004.parquet.17.tmp").write_bytes(b"PAR1")
    assert main([str(killed), "--no-film"]) == 0
    text = (killed / "report.html").read_text()
    assert all(f"<h2>{section}</h2>" in text for section in SECTIONS)


def test_a_run_without_episodes_or_provenance_is_reported_on_the_rest(run: Path) -> None:
    shutil.rmtree(run / "episodes")
    text = report_run(load_run(run), film=False).to_html()
    assert "<h2>Lineage</h2>" in text
    assert "<h2>Length bias</h2>" not in text
    assert "The run has no provenance.json." in text


def test_provenance_and_costs_are_shown(run: Path) -> None:
    entry = {"started": "2026-01-01", "versions": {"python": "3.12"}, "commit": "abc", "command": ["jobs/run.py", "x"]}
    (run / "provenance.json").write_text(json.dumps([entry, entry | {"commit": "def<"}]))
    text = report_run(load_run(run), film=False).to_html()
    assert "def&lt;" in text
    assert "The run was started 2 times" in text
    assert "(rollout processes × time)" in text
    lines = (run / "generations.jsonl").read_text().splitlines()
    charged = [json.loads(line) for line in lines]
    for line in charged:
        line["timing"]["core_hours"] = 1.5
    (run / "generations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in charged))
    frame = load_run(run).generations
    costs = dict(run_facts.summary(load_run(run), None))
    assert costs["core-hours"] == f"{1.5 * len(frame):.2f} charged for closed generations"
    assert costs["process time"] == "100.0 % busy"


def test_sections_come_where_there_is_something_to_show(mazes: dict[str, Path], recorded: dict[str, Path]) -> None:
    runs = {**mazes, "truncation": recorded["swatch"]}
    texts = {kind: report_run(load_run(path), film=False).to_html() for kind, path in runs.items()}
    shown = {kind: [title for title in ALGORITHMS_OWN if f"<h2>{title}</h2>" in text] for kind, text in texts.items()}
    assert shown == {"novelty": ALGORITHMS_OWN, "openai-es": ALGORITHMS_OWN[:2], "truncation": ALGORITHMS_OWN[2:]}


def test_a_study_is_reported_with_curves_scores_and_runs(study: Path, tmp_path: Path) -> None:
    text = report_study(load_study([study]), film=False).to_html()
    assert loads_nothing(text)
    assert "<h1>Study study" in text
    assert "6 runs, 2 tasks, 3 seeds; 0 finished." in text
    for section in ("Final scores", "Runs", "What varies", "What all runs have in common", "Made with"):
        assert f"<h2>{section}</h2>" in text
    for path in study.iterdir():
        assert f"<td>{path.name}</td>" in text
    assert "<td>seed</td><td>0, 1, 2</td>" in text
    assert "population = 20" in text
    assert "Without a provenance.json that can be read: " in text
    assert main([str(study), "--no-film", "--out", str(tmp_path / "study.html")]) == 0


def test_a_study_is_headed_by_medians_and_not_by_its_luckiest_seed(study: Path) -> None:
    scores = pd.DataFrame({"game": ["Frost"] * 3, "score": [1.0, 2.0, 9.0]})
    assert " Median over seeds: Frost 2." in study_facts.lead(load_study([study]), scores)


def test_a_study_names_the_versions_of_its_runs_and_what_it_left_out(study: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(study, tmp_path / "base"))
    for n, path in enumerate(sorted(base.iterdir())):
        entry = {"versions": {"python": "3.12"}, "commit": "old" if n else "new", "host": "here"}
        (path / "provenance.json").write_text(json.dumps([entry]))
    RunDirectory.create(base / "unplayed", SWATCH).close()
    out = tmp_path / "study.html"
    assert main([str(base), "--no-film", "--out", str(out)]) == 0
    text = out.read_text()
    assert "<td>versions</td><td>python 3.12</td>" in text
    assert "<td>new (Frost-s0)</td>" in text
    assert "Without a closed generation, and so left out: unplayed." in text


def test_a_study_of_tasks_that_nobody_published_compares_with_nobody(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / str(seed), synthetic_config(10, seed), 2) for seed in range(2)]
    text = report_study([load_run(path) for path in paths], film=False).to_html()
    assert "ga-dist" not in text
    assert "Published" not in text
    one = report_study([load_run(paths[0])], film=False).to_html()
    assert "<h2>Final scores</h2>" not in one


def test_what_cannot_be_reported_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunDirectory.create(tmp_path / "new", SWATCH).close()
    assert main([str(tmp_path / "new")]) == 2
    assert "expected at least one closed generation, found none" in capsys.readouterr().err
    assert main([str(tmp_path / "new"), "--out", "report.pdf"]) == 2


@pytest.mark.slow
def test_a_long_run_is_not_held_in_memory(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", synthetic_config(1000), 200)
    assert make_report(path) < 400e6  # a thousand generations take 470e6
    text = (path / "report.html").read_text()
    assert "30 of 200 generations, evenly spaced." in text
    assert "of 0 to 199" in text
    assert "ancestors of the last parents and of every elite" in text
    assert len(text) < 10_000_000
