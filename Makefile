# make demo: everything from nothing to the report; make test: lint and tests. Both make .venv where it is missing.
PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test test-slow lint docs tour faces results compare ablation digits fashion recompute explain screenshot using \
  tuning gap transfer chaos bench peer profile side-by-side views accelerator-check cluster-test clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/fer-jax train --config configs/quickstart.py --workdir $(WORKDIR)
	@echo "Open $(abspath $(WORKDIR))/report/index.html"

test: lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

# What takes processes of its own or minutes: kills, signals, several processes, ResNet50V2 on a tree of pictures.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A small site of docs/ and of docstrings, in runs/site; a broken link fails.
docs: $(STAMP)
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open $(abspath runs/site)/index.html"

# The notebook with its outputs, from nothing.
tour: $(STAMP)
	$(BIN)/jupyter execute --timeout=600 --inplace docs/tour.ipynb

# Committed figures: the quickstart from nothing, and the README's tables from it.
results: $(STAMP)
	rm -rf runs/results
	$(BIN)/fer-jax train --config configs/quickstart.py --workdir runs/results
	cp runs/results/results.json docs/results/quickstart.json
	cp runs/results/report/accuracy.png docs/accuracy.png
	$(BIN)/python -m studies.documents README.md

# What Grad-CAM's maps of the quickstart's model share and stand; needs `make results`.
explain: $(STAMP)
	$(BIN)/fer-jax explain --workdir runs/results
	cp runs/results/explain/explain.json docs/results/explain.json
	$(BIN)/python -m studies.documents docs/explanations.md

# docs/report.png, three parts of the quickstart's page in a Chromium that is there; needs `make results`.
screenshot: $(STAMP)
	$(BIN)/python studies/screenshot.py runs/results/report/index.html docs/report.png

# How long explain, predict, report and Grad-CAM take on the quickstart's workdir; needs `make results`, and a quiet machine.
using: $(STAMP)
	$(BIN)/python studies/using.py --workdir runs/results --out docs/results/using.json

# How the quickstart's continual phase was chosen: the paper's cut and batch size with four learning rates, then others.
PAPER = continual.cut=conv5_block1 continual.batch_size=16
tuning: $(STAMP)
	$(BIN)/python -m studies.tuning --config configs/quickstart.py --workdir runs/tuning --out docs/results/tuning.json \
	  --try $(PAPER) continual.learning_rate=3e-4 --try $(PAPER) continual.learning_rate=1e-3 \
	  --try $(PAPER) continual.learning_rate=2e-3 --try $(PAPER) continual.learning_rate=4e-3 \
	  --try continual.cut=conv5_block1 continual.batch_size=32 continual.learning_rate=2e-3 \
	  --try continual.cut=conv4_block1 continual.batch_size=16 continual.learning_rate=1e-3

# docs/results.md: all methods on rendered faces, the paper's ingredients apart, and what other libraries run on.
DOCUMENTS = README.md docs/results.md docs/performance.md
compare: $(STAMP)
	$(BIN)/fer-jax sweep --config configs/compare.py --workdir runs/compare --over seed=0,1
	cp runs/compare/results.json docs/results/compare.json
	cp runs/compare/report/accuracy.png docs/compare.png
	cp runs/compare/report/ranks.png docs/ranks.png
	$(BIN)/python -m studies.documents $(DOCUMENTS)

ablation: $(STAMP)
	$(BIN)/fer-jax sweep --config configs/ablation.py --workdir runs/ablation --over seed=0,1
	cp runs/ablation/results.json docs/results/ablation.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

digits: $(STAMP)
	for stream in 4+6x1 5x2; do \
	  $(BIN)/fer-jax sweep --config configs/digits.py:$$stream --workdir runs/digits/$$stream --over seed=0,1,2 && \
	  cp runs/digits/$$stream/results.json docs/results/digits_$$stream.json || exit 1; done
	$(BIN)/python -m studies.documents $(DOCUMENTS)

fashion: $(STAMP)
	$(BIN)/fer-jax train --config configs/fashion_mnist.py --workdir runs/fashion
	cp runs/fashion/results.json docs/results/fashion_mnist.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# Metrics and statistics of committed results made again from the accuracy matrices in them; nothing is trained.
recompute: $(STAMP)
	$(BIN)/python -m studies.recompute $(foreach name,quickstart compare ablation digits_4+6x1 digits_5x2 fashion_mnist,docs/results/$(name).json)
	$(BIN)/python -m studies.documents $(DOCUMENTS)

gap: $(STAMP)
	$(BIN)/python -m studies.identity_gap --out docs/results/identity_gap.json
	$(BIN)/python -m studies.documents README.md

chaos: $(STAMP)
	$(BIN)/python -m studies.chaos --kills 30 --out docs/results/chaos.json

transfer: $(STAMP)
	$(BIN)/python -m studies.transfer --out docs/results/transfer.json
	$(BIN)/python -m studies.documents README.md

# docs/performance.md: throughput, scaling, and what is compiled code, on the devices that are there. Nothing else should
# run beside the first four.
bench: $(STAMP)
	$(BIN)/fer-jax bench --out docs/results/bench.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# Keras has an environment of its own; it answers this one's questions.
peer: $(STAMP) .venv-peer/.installed
	$(BIN)/python studies/peer_keras.py --python .venv-peer/bin/python --out docs/results/peer_keras.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

side-by-side: $(STAMP)
	$(BIN)/python studies/side_by_side.py --out docs/results/side_by_side.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

profile: $(STAMP)
	$(BIN)/python -m fer_jax.bench.profile --out docs/results/profile.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# What training on V cached views costs in accuracy against the exact mode, V = 0.
views: $(STAMP)
	$(BIN)/fer-jax sweep --config configs/views.py --workdir runs/views --over feature_cache.views=0,4,8,16,32 \
	  --over seed=0,1
	cp runs/views/results.json docs/results/views.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# Does an accelerator compute what it should, and how fast; nine minutes at most, on the CPU where there is none.
accelerator-check: $(STAMP)
	$(BIN)/python -m fer_jax.bench.accelerator --out docs/results/accelerator.json

# A real SLURM on this machine, for minutes, as root: launch/README.md.
cluster-test: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" launch/cluster_test.sh

faces: $(STAMP)
	$(BIN)/python -m fer_jax.data.facs_faces.contact_sheet --out docs/faces.png

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fer_jax needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,pretrained]'
	@touch $@

.venv-peer/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[peer]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-peer build *.egg-info
