"""`python analysis/trials.py …` does what `gadask trials …` does; see `gadask/analysis/trials.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("trials")
