"""`python analysis/report.py …` does what `gadask report …` does; see `gadask/analysis/report.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("report")
