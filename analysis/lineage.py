"""`python analysis/lineage.py …` does what `gadask lineage …` does; see `gadask/analysis/lineage.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("lineage")
