"""`python jobs/bench.py …` does what `gadask bench …` does; see `gadask/commands/bench.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("bench")
