PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUFF := $(BIN)/ruff
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help env book test lint format quick full bench serve lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY)  ## the environment .venv, from the hash-pinned requirements.lock

book: $(READY)  ## execute every chapter and build book/_build/html
	@$(BIN)/kdstudy book

test: $(READY)  ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY)  ## check code and formatting
	@$(BIN)/lint-imports --no-logo
	@$(RUFF) check .
	@$(RUFF) format --check .

format: $(READY)  ## fix what the linter can fix
	@$(RUFF) check --fix .
	@$(RUFF) format .

quick: $(READY)  ## train a small universe study from nothing and render it, in minutes
	@$(BIN)/kdstudy quick

full: $(READY)  ## perform every chapter's study, publish, build the book
	@$(BIN)/kdstudy full

bench: $(READY)  ## measure speed on this machine, some 45 minutes with nothing else running; ARGS="--only distil"
	@$(BIN)/python -m benchmarks $(ARGS)

serve: $(READY)  ## serve the built book at localhost, PORT=8000
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory book/_build/html $(PORT)

lock: $(READY)  ## write requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --all-extras pyproject.toml -o requirements.lock

clean:  ## remove what was built; environment, results and what is in out/ stay
	rm -rf book/_build book/_stage build *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 15) else "kdstudy needs Python 3.11 to 3.14; $(PYTHON) is %d.%d. Name another one: make env PYTHON=python3.12" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.lock into $(VENV): the first time downloads several GB and takes minutes."
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
