# What a reader, a student or an editor of the book needs. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Python 3.11 that makes the environment, and where the environment goes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# The address of PyTorch's CPU wheel index, as pytorch.org shows it: a build of torch without CUDA, 2 GB smaller.
TORCH_INDEX ?=
# What to run (make run, make sweep) or pretrain, what to keep (make record), which tests (make test) and measurements (make bench).
PAPER ?=
SWEEP ?=
GRID ?=
SCHEDULER ?=
WEIGHTS ?=
ARGS ?=
RUN ?=
NAME ?=
TESTS ?=
BENCH ?= mamba2 mamba hcmnet_step ms_imamba_step nmoe_step nmoe_tuning transformations growth wearable recordings runs
# Which data set to get or look at, the publisher's zip that you got by hand, and the folder of all data sets.
DATASET ?=
ARCHIVE ?=
DATA ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
BENCH_VENV := $(VENV)-bench
RUNS := $(BIN)/python -m affectbook.runs
PYTEST := $(BIN)/python -m pytest -q
# A whole suite takes a worker for each core, of one thread each; the tests of one file run in a single process.
# What a file makes once stays in one worker: by file where there are many, by the mark xdist_group where there are few.
WORKERS := -n logical --maxprocesses 4 --dist
ONE_THREAD = $(if $(TESTS),,OMP_NUM_THREADS=1)

.PHONY: help env book run sweep data check-data pretrain record confirm check-stale test test-slow faults bench lint notebooks strip lab clean

help: ## list the targets
	@echo "make <target>"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)$$/\1\t\2/' \
		| awk -F'\t' '{ printf "  %-11s %s\n", $$1, $$2 }'
	@echo "Variables: PAPER, ARGS (run, sweep); GRID, SCHEDULER (sweep); SWEEP (sweep, record, confirm); RUN, NAME (record)"
	@echo "           WEIGHTS (pretrain); TESTS (test, test-slow, faults); BENCH, ARGS (bench)"
	@echo "           DATASET (data, check-data); ARCHIVE (data); DATA (run, sweep, record, pretrain, data, check-data); TORCH_INDEX, PYTHON, VENV (env)"

env: $(STAMP) ## make .venv with the pinned packages (TORCH_INDEX=<address> for a CPU build of torch)

# torch goes first: from its own index if one is named, and so that nothing that follows replaces it.
$(STAMP): constraints.txt requirements.in pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo 'This book needs Python 3.11, found: "$(PYTHON)". Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; }
	@echo "Environment: $(VENV) (once; about two minutes)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.in
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(STAMP) ## execute what changed and render the book into build/site
	@$(RUNS) book

run: $(STAMP) ## run a paper with other parameters: make run PAPER=hcmnet ARGS="-p epochs 5" (ARGS=--help: lists them)
	@$(RUNS) run $(if $(PAPER),"$(PAPER)") $(ARGS)

sweep: $(STAMP) ## run a grid of parameters: make sweep PAPER=hcmnet GRID=grid.yaml (SCHEDULER=tcp://...: on Dask), or the cells of a record: SWEEP=ablations
	@$(RUNS) sweep $(if $(PAPER),"$(PAPER)") $(if $(SWEEP),"$(SWEEP)") $(if $(value GRID),--grid "$$GRID") $(if $(SCHEDULER),--scheduler "$(SCHEDULER)") $(ARGS)

# Handed over by the environment, where spaces and quotes in a path do no harm; relative to where make is called.
ifneq ($(value DATA),)
run sweep record confirm check-stale pretrain data check-data: export AFFECTBOOK_DATA := $(if $(filter /% ~%,$(firstword $(value DATA))),,$(CURDIR)/)$(value DATA)
endif
sweep: export GRID := $(value GRID)
data: export AFFECTBOOK_ARCHIVE := $(value ARCHIVE)

data: $(STAMP) ## get a data set, or list them: make data DATASET=eegmat (ARCHIVE=<zip>: got by hand; DATA=<folder>: of all data sets)
	@$(RUNS) data "$(DATASET)" $${AFFECTBOOK_ARCHIVE:+--archive "$$AFFECTBOOK_ARCHIVE"}

check-data: $(STAMP) ## say whether a data set is complete: make check-data DATASET=wesad DATA=<folder>
	@$(RUNS) check-data "$(DATASET)"

pretrain: $(STAMP) ## make released weights again: make pretrain PAPER=ssl_ecg WEIGHTS=<name> (without WEIGHTS: lists them)
	@$(RUNS) pretrain "$(PAPER)" $(if $(WEIGHTS),"$(WEIGHTS)")

record: $(STAMP) ## keep scores: make record RUN=build/runs/hcmnet/<key> NAME=<name>, or PAPER=hcmnet SWEEP=ablations
	@$(if $(SWEEP),$(RUNS) record-sweep "$(PAPER)" "$(SWEEP)",$(RUNS) record "$(RUN)" "$(NAME)")

confirm: $(STAMP) ## after a change of code, make some cells of a record again: make confirm PAPER=hcmnet SWEEP=ablations (ARGS="--cells 3")
	@$(RUNS) confirm "$(PAPER)" "$(SWEEP)" $(ARGS)

check-stale: $(STAMP) ## say which recorded scores are older than the code that makes them
	@$(RUNS) check-stale

test: lint notebooks ## check style and notebooks, run the quick tests (TESTS=tests/test_runs.py for some)
	@$(ONE_THREAD) $(PYTEST) $(if $(TESTS),,$(WORKERS) loadfile) -m "not slow and not faults" $(TESTS)

test-slow: $(STAMP) ## run the slow tests: training and whole notebooks
	@$(ONE_THREAD) $(PYTEST) $(if $(TESTS),,$(WORKERS) loadgroup) -m slow $(TESTS)

# What lies in tests/faults belongs to them with or without the mark; 5 is pytest's word for "none left".
faults: $(STAMP) ## run the fault injections: damaged files, full disks, interrupted runs
	@$(PYTEST) -m faults $(TESTS)
	@$(if $(TESTS),,$(PYTEST) -m "not faults" tests/faults || test $$? = 5)

# The alternatives stand apart: this environment sees the packages of the book's and adds them to it.
$(BENCH_VENV)/.stamp: $(STAMP) bench/requirements.txt
	@echo "Environment: $(BENCH_VENV) (once; about a minute)"
	@$(BIN)/python -m venv --without-pip $(BENCH_VENV)
	@where='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		echo "import site; site.addsitedir('$$($(BIN)/python -c "$$where")')" > "$$($(BENCH_VENV)/bin/python -c "$$where")/book.pth"
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt
	@touch $@

bench: $(BENCH_VENV)/.stamp ## measure speed against the alternatives, 40 minutes: make bench BENCH=mamba2 (ARGS=--quick: small shapes)
	@for name in $(BENCH); do $(BENCH_VENV)/bin/python bench/$$name.py $(ARGS); done
	@echo "Measured: $(if $(findstring --quick,$(ARGS)),build/bench,results/bench; make book puts it on its page)"

lint: $(STAMP) ## check style with ruff
	@$(BIN)/ruff check --quiet .

notebooks: $(STAMP) ## check that the notebooks have no outputs
	@$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb || { echo "Take the outputs out: make strip" >&2; exit 1; }

strip: $(STAMP) ## take the outputs out of the notebooks, before a commit
	@$(BIN)/nbstripout --keep-id notebooks/*.ipynb

lab: $(STAMP) ## open JupyterLab on the notebooks
	@$(BIN)/jupyter lab --notebook-dir=. notebooks

clean: ## remove what was built, runs and sweeps with it (keeps .venv, data and what was recorded)
	@rm -rf build
