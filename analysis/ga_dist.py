"""`python analysis/ga_dist.py …` does what `gadask ga-dist …` does; see `gadask/analysis/ga_dist.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("ga-dist")
