"""`python jobs/export.py …` does what `gadask export …` does; see `gadask/commands/export.py`."""

from gadask.__main__ import run_script

if __name__ == "__main__":
    run_script("export")
