# make run: evolve Kangaroo, about five minutes on two good cores. make test: the whole test suite. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
RUN_DIR ?= runs/kangaroo-quick
# Threads of BLAS and OpenMP are set per process by gadask; tests and benchmarks are to see the same.
export OMP_NUM_THREADS = 1
# Compiled modules are kept, as on users' machines: tests start thousands of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check docs bench pictures setup clean

run: setup
	$(BIN)/gadask run kangaroo-quick --run-dir $(RUN_DIR) $(if $(wildcard $(RUN_DIR)/config.toml),--resume)

test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 10

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	rm -rf site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs site

bench: setup
	$(BIN)/python -m tests.benchmarks

# The pictures of the docs: half an hour of evolution, which a second call does not repeat, and a minute of drawing.
pictures: setup
	$(BIN)/gadask sweep studies/pictures --study-dir runs/pictures --max-parallel 1
	$(BIN)/python analysis/pictures.py runs/pictures --out docs/pictures/analysis

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml $(wildcard gadask/envs/*.[ch] gadask/genomes/*.c gadask/policies/kernels/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gadask needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv
