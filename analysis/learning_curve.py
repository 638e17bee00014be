"""`python analysis/learning_curve.py …` does what `gadask curve …` does; see `gadask/analysis/learning_curve.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("curve")
