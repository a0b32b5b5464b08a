PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.ready
TEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
export JAX_PLATFORMS ?= cpu

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow pod faults chance lint format docs table bench clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,lint]'
	@touch $(SETUP)

setup: $(SETUP)  ## make the virtual environment

demo: $(SETUP)  ## the main job on embedded data: four pillars, dense and sparse, in one table
	$(BIN)/python -m experiments table demo --preset small --seeds 3

test: $(SETUP)  ## the tests that CI runs
	$(BIN)/python -m pytest -m 'not slow' $(TEST_ARGS)

test-slow: $(SETUP)  ## the long tests
	$(BIN)/python -m pytest -m slow $(TEST_ARGS)

pod: $(SETUP)  ## two processes of two devices give the table of one process
	$(BIN)/python -m pytest -m 'slow or not slow' tests/pod/test_launch.py

TIMES ?= 1
# kills at drawn moments, processes, clocks, servers, files: chance or time has a part in these
CHANCE := tests/runtime tests/pod tests/core/test_skipping.py \
  $(addprefix tests/data/test_,archive.py batches.py download.py fuzz.py source.py \
    spiking_heidelberg.py torch_file.py) \
  $(addprefix tests/experiments/test_harness_,data_files.py table.py)
FAULTS := $(CHANCE) tests/core/test_step.py \
  $(addprefix tests/experiments/test_,every_experiment.py harness_words.py) \
  $(wildcard tests/kernels/test_*_errors.py tests/kernels/test_*_kernels.py)

faults: ASKED = $(FAULTS)
faults: $(SETUP)  ## the tests of docs/faults.md, long ones too, TIMES=10 for ten in a row
chance: ASKED = $(CHANCE)
chance: $(SETUP)  ## those of them in which chance or time has a part, TIMES=10 for ten in a row
faults chance:
	for i in $$(seq $(TIMES)); do echo "$@: $$i of $(TIMES)"; \
	  $(BIN)/python -m pytest -m 'slow or not slow' $(TEST_ARGS) $(ASKED) || exit $$?; done

lint: $(SETUP)  ## format check, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

format: $(SETUP)  ## write the format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(SETUP)  ## guides and reference as pages in docs/_build/html
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "written: docs/_build/html/index.html"

table: $(SETUP)  ## the small tables of the four methods (needs JAXLEARN_DATA)
	for slug in auglocal sltt forwardgnn granet; do \
	  $(BIN)/python -m experiments table $$slug --preset small --seeds 3 || [ $$? -eq 1 ] || exit $$?; done

# one heap for all threads: with several a large step pays for new pages by chance
bench: export MALLOC_ARENA_MAX = 1
bench: $(SETUP)  ## step time and memory of every method beside backprop and installed peers, as a page
	for slug in $$($(BIN)/python -m experiments list --json | \
	    $(BIN)/python -c 'import json, sys; print(*(e["slug"] for e in json.load(sys.stdin)))'); do \
	  scaling=; case $$slug in demo|sltt) scaling=--scaling;; esac; \
	  $(BIN)/python -m experiments bench $$slug $$scaling || exit $$?; done
	$(BIN)/python -m experiments report

clean:  ## remove the environment and all caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis docs/_build docs/reference
