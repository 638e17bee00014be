"""`python analysis/raster.py …` does what `gadask raster …` does; see `gadask/analysis/raster.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("raster")
