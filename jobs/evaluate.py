"""`python jobs/evaluate.py …` does what `gadask evaluate …` does; see `gadask/commands/evaluate.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("evaluate")
