"""`python analysis/curves.py …` does what `gadask curves …` does; see `gadask/analysis/curves.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("curves")
