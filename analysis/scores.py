"""`python analysis/scores.py …` does what `gadask scores …` does; see `gadask/analysis/scores.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("scores")
