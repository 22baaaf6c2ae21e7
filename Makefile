# Each target is complete on a bare machine that has Python and make: it makes .venv,
# installs what it needs at the versions of constraints.txt, and does not install twice.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install -c constraints.txt

# As many processes as cores, up to 4 for the memory; the tests of a file stay in one of them, so
# that what a file's fixtures make is made once. tests/conftest.py has the longest files first.
JOBS ?= logical --maxprocesses 4
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

NOTEBOOKS := $(wildcard tutorials/*.ipynb)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
ifndef BESIDE
.NOTPARALLEL:
endif
.PHONY: help demo check test lint types docs tutorials refresh-tutorials faults fuzz neighbours lowest job dist bench lab clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: .venv/.core-installed  ## Train a small MNIST network through a 13-qubit circuit (a minute)
	@out=runs/demo; \
	if [ -e "$$out" ]; then out="runs/demo-$$(date +%Y%m%d-%H%M%S)"; fi; \
	$(BIN)/python -m qtn_train.demo "$$out" && \
	$(BIN)/qtn-train train mnist-mini --out "$$out"

check: lint types  ## Run lint, types and the fast tests
	$(PYTEST) -q -m "not slow" tests

# Types and pages take one core each, for as long: they run beside each other. The tests come last,
# so that their summary is the last line.
test: lint  ## Run every check: lint, types, docs, tutorials, doctests and tests
	@$(MAKE) --no-print-directory -j 2 BESIDE=yes types docs
	@$(MAKE) --no-print-directory tutorials
	$(PYTEST) --durations=20 --doctest-modules qtn_train tests

lint: .venv/.all-installed  ## Check style, format and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.all-installed  ## Check types
	$(BIN)/mypy

# Nothing is executed for the pages, and every warning and every dead link is an error.
docs: .venv/.all-installed  ## Build the documentation into docs/_build/html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -E -W --keep-going -n -q -d docs/_build/doctrees \
	    -b html docs docs/_build/html
	@echo "docs: open docs/_build/html/index.html"

tutorials: .venv/.all-installed  ## Run the tutorials and compare their stored outputs
	$(PYTEST) --nbval-lax --nbval-current-env \
	    --nbval-cell-timeout 300 --nbval-sanitize-with tutorials/nbval_sanitize.cfg tutorials

# Streams are joined afterwards: where a kernel flushes is chance, and would change the files.
refresh-tutorials: .venv/.all-installed  ## Run the tutorials and store their outputs
	OMP_NUM_THREADS=1 $(BIN)/jupyter nbconvert --log-level WARN --to notebook --inplace --execute \
	    --ExecutePreprocessor.kernel_name=python3 --ExecutePreprocessor.timeout=60 \
	    --ExecutePreprocessor.record_timing=False $(NOTEBOOKS)
	$(BIN)/jupyter nbconvert --log-level WARN --to notebook --inplace --coalesce-streams $(NOTEBOOKS)

# In portions, so that one that fails is known by its seed.
faults: .venv/.all-installed  ## Kill and disturb 1,000 runs on a local stand-in for Braket
	@for seed in 0 1 2 3 4 5 6 7 8 9; do \
	    $(BIN)/python -m tests.braket.faults --runs 100 --seed $$seed || exit 1; \
	done

fuzz: .venv/.all-installed  ## Read 20,000 foreign files and texts with every reader
	$(BIN)/python -m tests.fuzz --count 20000

# Qiskit, PennyLane, Cirq, pytket and mqt.bench do not fit beside the package's own pins.
neighbours: .venv-neighbours/.installed  ## Check circuits against Qiskit, PennyLane, Cirq and pytket
	.venv-neighbours/bin/python tests/exchange/neighbours.py corpus .venv-neighbours/corpus.jsonl
	QTN_TRAIN_CORPUS=.venv-neighbours/corpus.jsonl QTN_TRAIN_TRIPS=200 \
	    $(BIN)/python -m pytest -q tests/exchange/test_neighbours.py tests/exchange/test_objects.py

.venv-neighbours/.installed: .venv/.all-installed tests/exchange/requirements.txt
	@$(PYTHON) -m venv .venv-neighbours
	@.venv-neighbours/bin/python -m pip --quiet --disable-pip-version-check install \
	    -r tests/exchange/requirements.txt
	@touch $@

# The wheel alone, in an environment and a folder of its own, must do what the README shows.
dist: .venv/.all-installed  ## Build the release's files into dist/, and try the wheel without the checkout
	rm -rf dist build/dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(PYTHON) -m venv build/dist/venv
	build/dist/venv/bin/python -m pip --quiet --disable-pip-version-check install -c constraints.txt \
	    "$$(echo "$(CURDIR)"/dist/*.whl)" nbval ipykernel
	cd build/dist && venv/bin/python -m qtn_train.demo demo && venv/bin/qtn-train train iris --out iris \
	    && venv/bin/qtn-train evaluate iris && venv/bin/qtn-train tutorials tutorials \
	    && venv/bin/python -m pytest -q -c /dev/null --rootdir . -p no:cacheprovider --nbval-lax --nbval-current-env \
	        tutorials/00_start_here.ipynb tutorials/02_mnist.ipynb
	@ls -l dist

lowest: .venv-lowest/.installed  ## Run the fast tests at the lowest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest -q -m "not slow" tests

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	@$(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/python -m pip --quiet --disable-pip-version-check install \
	    -c constraints-lowest.txt -e '.[all]'
	@touch $@

# As in the job's container: the folder on the path, and the packages of its file; nothing else.
job: .venv-job/.installed  ## Run a hybrid job's code in an environment of its requirements file alone
	@rm -rf .venv-job/job && mkdir -p .venv-job/job/source && \
	cp -r qtn_train .venv-job/job/source/ && cd .venv-job/job && \
	echo '{"dataset": "iris", "shots": "50", "layers": "1", "epochs": "1"}' > hp.json && \
	AMZN_BRAKET_JOB_NAME=job AMZN_BRAKET_DEVICE_ARN=local:none/none \
	    AMZN_BRAKET_HP_FILE=hp.json AMZN_BRAKET_CHECKPOINT_DIR=. AMZN_BRAKET_JOB_RESULTS_DIR=. \
	    PYTHONPATH=source ../bin/python -m qtn_train.braket_job && \
	test -s results.json && echo "job: it trained, and left its results"

.venv-job/.installed: qtn_train/requirements.txt
	@$(PYTHON) -m venv .venv-job
	@.venv-job/bin/python -m pip --quiet --disable-pip-version-check install -r $<
	@touch $@

bench: .venv/.core-installed  ## Time one training step at 13, 16 and 19 qubits
	@for n in 13 16 19; do \
	    $(BIN)/python -m benchmarks.step --engine statevector --ansatz u3-cu3-ring \
	        --n-qubits $$n --layers 16 || exit 1; \
	done
	$(BIN)/python -m benchmarks.step --engine mps --ansatz u3-cu3-chain --n-qubits 20 --layers 8 \
	    --max-bond 32

# Trusted, so that drawings stored in them are shown before anything is run; and no question about
# Jupyter's news, which its own option does not turn off.
lab: .venv/.all-installed  ## Open the tutorials in JupyterLab
	@$(BIN)/jupyter trust $(NOTEBOOKS) > /dev/null
	@$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements > /dev/null 2>&1
	$(BIN)/jupyter lab --ServerApp.root_dir=tutorials $(if $(filter 0,$(shell id -u)),--allow-root)

clean:  ## Remove caches and build output; .venv and runs/ stay
	rm -rf dist build docs/_build docs/api docs/tutorials .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "make: $(PYTHON) must be Python 3.11 or newer; got $$($(PYTHON) --version 2>/dev/null || echo nothing)." \
	        "Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo "make: $(PYTHON) must have the venv module; got none. Install it: python3-venv." >&2; \
	    exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.core-installed: .venv/.created pyproject.toml constraints.txt
	@echo "installing qtn_train into .venv (once; some minutes on a slow line)"
	@$(PIP) -e .
	@touch $@

.venv/.all-installed: .venv/.created pyproject.toml constraints.txt
	@echo "installing qtn_train with every extra into .venv (once; some minutes on a slow line)"
	@$(PIP) -e '.[all]'
	@touch $@ .venv/.core-installed
