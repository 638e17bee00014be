"""`python jobs/sweep.py …` does what `gadask sweep …` does; see `gadask/commands/sweep.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("sweep")
