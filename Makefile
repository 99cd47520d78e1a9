# `make demo` and `make test` set up .venv with the tested versions first; both need Python >= 3.10 only.
# On Linux without a GPU, save gigabytes: make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test bench docs lint format clean

help:
	@echo "make demo    the whole pipeline on phantoms, report in runs/demo/index.html"
	@echo "make test    the test suite"
	@echo "make bench   times, to docs/benchmarks.md and .json; twenty minutes on a machine that does nothing else"
	@echo "make docs    the documentation as a site, site/index.html; strictly and without a network"
	@echo "make lint    ruff and mypy"
	@echo "make clean   remove .venv, runs and site"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python >= 3.10 is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

demo: install
	$(BIN)/monai-e2e demo

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

bench: install
	$(BIN)/python benchmarks/run.py

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs site
