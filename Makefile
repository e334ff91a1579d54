.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo up test test-unit test-long check bench fmt migrate docs images lock

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(STAMP): pyproject.toml requirements/dev.txt hatch_build.py $(wildcard src/mecapy_platform/sandbox/guest/csource/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "MecaPy needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

setup: $(STAMP) ## make the virtual environment with everything in it

demo: $(STAMP) ## start a platform, deploy the examples, run them, stop
	@$(BIN)/python examples/demo.py

up: $(STAMP) ## start the platform on this machine and keep it running
	@$(BIN)/mecapy up

# Processes of one run, each with services of its own; what they share is by group, see tests/support/division.py.
PROCESSES ?= 4
# Unit tests hardly wait: each process more costs three seconds of CPU, in which it imports what the others have.
UNIT_PROCESSES ?= 2
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope --no-loadscope-reorder

test: $(STAMP) ## run everything that a change can break, against real services (20 minutes on two cores)
	@$(PYTEST) -m "not long and not alone"; ended=$$?; \
	$(PYTEST) -n 0 -m "not long and alone" && exit $$ended

test-unit: $(STAMP) ## run the tests that need no service (15 seconds)
	@$(PYTEST) -n $(UNIT_PROCESSES) -q tests/unit -m "not long"

test-long: export MECAPY_TEST_SEED ?= $(shell date +%s)
test-long: REPORT = build/long-$(shell git rev-parse --short=12 HEAD).xml
test-long: $(STAMP) ## run the rest: all seeds, all backends in full; writes docs/reference/long-tests.md
	@$(PYTEST) --junitxml $(REPORT) -m long; ended=$$?; \
	$(BIN)/python tests/support/cases.py ended $(REPORT) && exit $$ended

check: $(STAMP) ## lint, types, import rules, dependencies, locks
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry src

bench: $(STAMP) ## measure speed and memory, write bench/results/; with BASE=commit, compare with that commit
	@$(BIN)/python -m bench $(if $(BASE),--base $(BASE))

fmt: $(STAMP) ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

migrate: $(STAMP) ## bring the database named by MECAPY_DATABASE_OWNER_URL to the newest schema
	@$(BIN)/mecapy server migrate

docs: $(STAMP) ## write docs/reference/openapi.json and workflow.schema.json from the code
	@$(BIN)/python -m mecapy_platform.api.openapi docs/reference/openapi.json docs/reference/workflow.schema.json

images: $(STAMP) ## make our Docker images from Debian's packages and load them (needs root, mmdebstrap and a daemon)
	@$(BIN)/python deploy/docker/build.py

lock: ## renew requirements/*.txt from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements/base.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra server pyproject.toml -o requirements/server.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra server --group dev pyproject.toml requirements/build.in -o requirements/dev.txt
