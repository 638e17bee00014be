"""`python analysis/length_bias.py …` does what `gadask length-bias …` does; see `gadask/analysis/length_bias.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("length-bias")
