# trabbits: `make run` to try it, `make test` to test it, `make help` for the rest.
# Everything is set up on the way: see scripts/prepare.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# ARGS go to what a target runs: make test ARGS="tests/wire -x", make bench ARGS="--quick"
ARGS ?=
PORT ?= 6672
# How many processes share the tests, file by file; each starts RabbitMQ nodes of its own.
JOBS ?= 2

# Images of containers often forbid Python to keep what it has compiled. Tests start more than a hundred processes, and
# each would compile trabbits anew.
unexport PYTHONDONTWRITEBYTECODE

RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev

# make simulate N=100000, or one seed again: make simulate SEED=17 [STEPS=60] [TRACE=all]
N ?= 20000
FIRST ?= 0
SEED ?=
STEPS ?=
TRACE ?= 60

.PHONY: help run test simulate lint format coverage docs pictures wheel plugins news bench clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(RUN_READY) ## see trabbits at work between two embedded brokers (trabbits demo), on port 6672
	@$(BIN)/trabbits demo --port $(PORT) $(ARGS)

test: $(DEV_READY) ## run all tests (some start real RabbitMQ nodes)
	@scripts/prepare packages rabbitmq-server haproxy tmux
	$(BIN)/python -m pytest $(or $(ARGS),-n $(JOBS) --no-loadscope-reorder)

lint: $(DEV_READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

simulate: $(DEV_READY) ## run N=20000 random simulations of sessions and brokers, or one alone (SEED=...)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED) --trace $(TRACE) $(if $(STEPS),--steps $(STEPS)),-n $(N) --first $(FIRST)) $(ARGS)

format: $(DEV_READY) ## put the code into its usual form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(DEV_READY) ## their own tests must reach 95 % of the branches of wire/ and session/
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q tests/wire tests/session tests/simulation/test_simulation.py $(ARGS)
	$(BIN)/python -m coverage report
	$(BIN)/python scripts/coverage_gate.py --branches 95 trabbits/wire trabbits/session

docs: $(DEV_READY) ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

pictures: $(DEV_READY) ## make the README's pictures anew, from the running program
	@scripts/prepare packages tmux
	$(BIN)/python scripts/capture.py docs/pictures

wheel: $(DEV_READY) ## build a wheel into dist/ and try it in an environment of its own
	rm -rf dist build
	$(BIN)/python -m build --wheel --outdir dist . >/dev/null
	$(BIN)/python scripts/check_wheel.py dist/*.whl

plugins: wheel ## try the distributions under plugins/ with that wheel in an environment of their own
	$(BIN)/python scripts/check_plugins.py dist/*.whl $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

news: $(DEV_READY) ## show what the next release's notes would say, and check the fragments
	$(BIN)/python scripts/check_news.py

bench: $(DEV_READY) ## measure direct RabbitMQ, HAProxy and trabbits against each other
	@scripts/prepare packages rabbitmq-server
	@scripts/prepare packages haproxy || echo "going on without HAProxy"
	$(BIN)/python benchmarks/bench.py $(ARGS)

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist docs/_build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(DEV_READY): pyproject.toml scripts/prepare
	@scripts/prepare venv $(VENV) dev
	@touch $(DEV_READY) $(RUN_READY)

$(RUN_READY): pyproject.toml scripts/prepare
	@scripts/prepare venv $(VENV)
	@touch $(RUN_READY)
