# Every target is one line into a tool that says what it does; CI calls the same ones.
PYTHON ?= python3
MODEL ?= scripted
CLUSTER_TESTS := cluster$(if $(WITHOUT_HOST_NODE), and not host_node)
BIN := .venv/bin
CLUSTER := PYTHONPATH=cluster $(BIN)/python -m codex_cluster

.PHONY: help install check format test test-failed test-fast e2e demo up down clean lock bench compare
.DEFAULT_GOAL := help

help: ## Show what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: .venv/installed ## Install the product and its tools into .venv

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "codex-temporal needs Python 3.11 or newer: make PYTHON=python3.13 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv && $(BIN)/pip install -q "pip>=25.1" && $(BIN)/pip install -q -c constraints.txt -e . --group dev && touch $@

check: install ## Lint, types, layers, chart: seconds, no server
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python -m pytest -q tests/chart tests/api -m "not apiserver and not cluster"

format: install ## Put the code into shape
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

test: install ## Everything: unit, Temporal, database, API server, and a real cluster (brought up if need be; WITHOUT_HOST_NODE=1 where its node cannot run)
	@failed=0; $(BIN)/python -m pytest -q -m "not cluster" || failed=1; \
	{ $(CLUSTER) up && $(CLUSTER) images && $(BIN)/python -m pytest -q -m "$(CLUSTER_TESTS)"; } || failed=1; exit $$failed

test-failed: install ## Only what failed in the last run
	$(BIN)/python -m pytest -q --last-failed --last-failed-no-failures=none

test-fast: install ## Unit tests only: no server
	$(BIN)/python -m pytest -q -m "not temporal and not database and not apiserver and not cluster"

e2e: install ## Only the end-to-end tests on the cluster
	$(CLUSTER) up && $(CLUSTER) images && $(BIN)/python -m pytest -q tests/e2e

demo: install ## A session on a real cluster, from apply to approval to answer (MODEL=openai uses OPENAI_API_KEY)
	$(CLUSTER) demo --model $(MODEL)

up: install ## Bring up a Kubernetes cluster: kind where Docker runs, otherwise a node on this Linux host
	$(CLUSTER) up

down: install ## Remove the cluster and everything it changed on this machine
	$(CLUSTER) down

clean: install ## Remove the build caches too
	$(CLUSTER) clean

lock: install ## Pin every dependency in constraints.txt
	$(BIN)/pip freeze --exclude-editable | grep -v '^-e ' > constraints.txt

bench: install ## Measure against peers in the same run
	$(BIN)/python -m bench

compare: install ## The Codex CLI and ours: times, and who survives which failure of a provider (docs/comparison.md)
	$(BIN)/python -m bench.commands && $(BIN)/python -m bench.faults --write docs/comparison.md
