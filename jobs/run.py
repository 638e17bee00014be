"""`python jobs/run.py …` does what `gadask run …` does; see `gadask/commands/run.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("run")
