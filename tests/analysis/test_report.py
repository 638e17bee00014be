"""Reports: of a finished run, of one killed half-way, of one generation, of very many, of a study."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gadask.analysis import report
from gadask.analysis.report import main, report_run, report_study
from gadask.analysis.runs import load_run, load_study
from gadask.record.directory import RunDirectory
from tests.analysis.pages import loads_nothing, tags
from tests.analysis.recorded import SWATCH, record
from tests.analysis.synthetic import synthetic_config, write_run
from tests.benchmarks.bench_report import make_report

SECTIONS = ["Learning curve", "What the rollout processes did", "Lineage", "Length bias", "Config", "Made with"]
ALGORITHMS_OWN = ["How the algorithm stands", "Where episodes ended", "Lineage"]


def test_a_report_holds_every_section_and_opens_offline(recorded: dict[str, Path]) -> None:
    text = report_run(load_run(recorded["frostbite"]), film=False).to_html()
    assert loads_nothing(text)
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
    (caption,) = text.split("<figcaption>")[1:]
    assert caption.startswith(f"elite of generation {crowned}, seed 3, return 1</figcaption>")
    (run / "elite.gif").write_bytes(b"GIF89a, elite of generation 77, seed 3, return 1\0")
    text = report_run(load_run(run)).to_html()
    assert "<figcaption>" not in text
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
    assert all(f"<h2>{section}</h2>" in text for section in SECTIONS)


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
    costs = dict(report._summary(load_run(run), None))
    assert costs["core-hours"] == f"{1.5 * len(frame):.2f} charged for closed generations"
    assert costs["process time"].endswith(" % idle or other runs")


def test_sections_come_where_there_is_something_to_show(mazes: dict[str, Path], recorded: dict[str, Path]) -> None:
    runs = {**mazes, "truncation": recorded["swatch"]}
    texts = {kind: report_run(load_run(path), film=False).to_html() for kind, path in runs.items()}
    shown = {kind: [title for title in ALGORITHMS_OWN if f"<h2>{title}</h2>" in text] for kind, text in texts.items()}
    assert shown == {"novelty": ALGORITHMS_OWN, "openai-es": ALGORITHMS_OWN[:2], "truncation": ALGORITHMS_OWN[2:]}


def test_a_study_is_reported_with_curves_scores_and_runs(study: Path, tmp_path: Path) -> None:
    text = report_study(load_study([study]), film=False).to_html()
    assert loads_nothing(text)
    for section in ("Learning curves", "Final scores", "Runs"):
        assert f"<h2>{section}</h2>" in text
    for path in study.iterdir():
        assert f"<td>{path.name}</td>" in text
    assert [tag for tag, _ in tags(text)].count("table") == 2
    assert main([str(study), "--no-film", "--out", str(tmp_path / "study.html")]) == 0


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
