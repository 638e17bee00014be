"""The commands that play: `gadask run`, `sweep`, `evaluate`, `export`. Those that draw are in `gadask/analysis/`."""
