# bels: `make run` starts it, `make test` tests it; both set up .venv from the lock first.
# Needs only Python >= 3.11 (with venv), make and git.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --quiet --no-input --disable-pip-version-check
CODE := $(wildcard src tests bench)
LOCK_WITH := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-build \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# A .venv that was copied or moved with its folder points to the old place: it is made again.
ifneq "$(shell cat $(READY) 2>/dev/null)" "$(CURDIR)"
$(shell rm -f $(READY))
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run sandbox test peers check bench soak format schema lock setup clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(READY)  ## Serve the demonstration town on http://127.0.0.1:8000 (BELS_PORT)
	@$(BIN)/bels serve --demo --local $(ARGS)

sandbox: $(READY)  ## Serve a sandbox for partners to try on, with accounts of nobody (BELS_PORT)
	@$(BIN)/bels serve --sandbox $(ARGS)

test: $(READY) peers  ## Run the tests (ARGS="-k name" for some of them)
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

peers:  ## Install the gateways and clients that the tests talk to, if this user may
	@sh deploy/peers.sh

check: $(READY)  ## Check format, lint, types, floors and the schema file
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy --strict $(CODE)
	$(BIN)/lint-imports
	$(BIN)/bels schema --check

bench: $(READY)  ## Run the benchmarks
	@$(BIN)/python -m bench $(ARGS)

soak: $(READY)  ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m soak $(ARGS)

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

schema: $(READY)  ## Write the GraphQL schema file
	$(BIN)/bels schema > .venv/schema.graphql
	mv .venv/schema.graphql src/bels/api/schema.graphql

lock: | $(READY)  ## Pin every dependency again, with hashes (ARGS=--upgrade for the newest)
	$(LOCK_WITH) $(ARGS) --group build pyproject.toml --output-file requirements.lock
	$(LOCK_WITH) $(ARGS) --group dev pyproject.toml --constraint requirements.lock --output-file requirements-dev.lock

setup: $(READY)  ## Set up .venv only

clean:  ## Remove what was made, except the data in .bels
	rm -rf .venv .venv-peers tests/peers/graphql/node_modules dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is removed first and written last: a set-up that was interrupted is done again from nothing,
# and a finished one is brought up to a changed lock in place.
$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "bels needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
		echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' has no venv or pip (on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Setting up .venv from requirements-dev.lock (a minute the first time) ..."
	@if [ -f $(READY) ]; then rm -f $(READY); else rm -rf .venv; $(PYTHON) -m venv .venv; fi
	@$(PIP) --require-hashes --only-binary :all: -r requirements-dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@printf '%s' "$(CURDIR)" > $(READY)
