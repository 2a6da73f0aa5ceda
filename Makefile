# Everything a person needs: `make run` on a fresh machine, `make test` before a push.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-long test-dates proof limits simulate simulate-bugs crash-matrix chaos lint format check-deploy screenshots sdk-check fuzz-sandbox mutants clean

VENV := .venv
PY := $(VENV)/bin/python
# Two steps, so that a first `make run` does not wait for test tools.
RUNS := $(VENV)/.installed-to-run
STAMP := $(VENV)/.installed

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## the virtual environment .venv with everything in it

$(RUNS): requirements-production.txt tools/make_venv
	@sh tools/make_venv $(VENV) requirements-production.txt $@

$(STAMP): requirements.txt $(RUNS)
	@sh tools/make_venv $(VENV) requirements.txt $@

run: $(RUNS) ## the demo: web, worker, scheduler and provider simulator; prints the address and the logins
	@exec $(PY) -m portal.demo.run

test: $(STAMP) ## the whole suite, on SQLite and on PostgreSQL, in a real browser too; always both
	@exec $(PY) -m tests.run

test-fast: $(STAMP) ## SQLite only, without browser, simulator and other processes
	@exec $(PY) -m tests.run fast

test-long: $(STAMP) ## what takes ten seconds and more: stories in a browser, migrations of many rows, killed workers
	@exec $(PY) -m tests.run long

test-dates: $(STAMP) ## SQLite under two other dates, one of them 29 February; needs faketime
	@exec $(PY) -m tests.run dates

proof: $(STAMP) ## an hour and more: every case, 20 rounds of each race, chaos, crash matrix, simulation
	@$(PY) -m tests.run proof
	@$(MAKE) --no-print-directory crash-matrix
	@$(MAKE) --no-print-directory simulate SEEDS=2000 PROCESSES=2
	@$(MAKE) --no-print-directory chaos ROUNDS=20

limits: $(STAMP) ## eight processes at one bucket of ten a second, for five minutes
	@PACE_SECONDS=300 exec $(PY) -m pytest -n 0 -q -s tests/customers/connections/test_rate_limit.py -k eight_processes

chaos: $(STAMP) ## real processes killed by seed: PART=workers|redis|halfopen|postgres|all ROUNDS=200 SEED=n
	@exec $(PY) -m tests.chaos.run

SEEDS ?= 200
FROM ?= 0
PROCESSES ?= 1
simulate: $(STAMP) ## seeded worlds of the executor in one process: SEEDS=20000 FROM=0 PROCESSES=2
	@exec $(PY) -m tests.simulation seeds --seeds $(SEEDS) --from $(FROM) --processes $(PROCESSES)

simulate-bugs: $(STAMP) ## fifteen mistakes planted in the executor, each of which must be caught
	@exec $(PY) -m tests.simulation bugs

crash-matrix: $(STAMP) ## every operation kind, ended at every crash point, in four ways
	@exec $(PY) -m tests.simulation matrix

fuzz-sandbox: $(STAMP) ## schemathesis at the sandbox with the official OpenAPI files: SEED=1 EXAMPLES=50
	@exec $(PY) -m tests.fuzz.run

mutants: $(STAMP) ## a sample of small mistakes planted in what decides and counts: SEED=1 SAMPLE=20 ONLY=engine
	@exec $(PY) -m tests.mutants

lint: $(STAMP) ## ruff, mypy, import rules, templates
	@sh tools/lint $(VENV)

format: $(STAMP) ## format the Python code
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

check-deploy: $(STAMP) ## Django's and our own deployment checks, with the environment you are about to deploy
	@exec $(PY) manage.py check --deploy --fail-level WARNING

screenshots: $(STAMP) ## the pictures of README and guide, from a demo of their own
	@exec $(PY) -m tests.journeys.screenshots

sdk-check: $(STAMP) ## an official SDK of a provider against the sandbox; needs Go
	@exec $(PY) -m tests.sdk.check

clean: ## caches and test leftovers; never the data in var/
	rm -rf .pytest_cache .test-databases .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov test-results .coverage .coverage.*
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
