"""`python analysis/film.py …` does what `gadask film …` does; see `gadask/analysis/film.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("film")
