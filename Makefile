# Use `make run` on a new machine, and `make test` before a push.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-long test-dates proof months bench bench-large limits simulate simulate-bugs crash-matrix chaos lint format check-deploy texts screenshots sdk-check fuzz-sandbox mutants bill-of-materials audit-dependencies clean

VENV := .venv
PY := $(VENV)/bin/python
# Two steps, so that the first `make run` does not install test tools.
RUNS := $(VENV)/.installed-to-run
STAMP := $(VENV)/.installed

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## install everything into the virtual environment .venv

$(RUNS): requirements-production.txt tools/make_venv
	@sh tools/make_venv $(VENV) requirements-production.txt $@

$(STAMP): requirements.txt $(RUNS)
	@sh tools/make_venv $(VENV) requirements.txt $@

run: $(RUNS) ## run the demo: web, worker, scheduler and provider simulator; prints the URL and the logins
	@exec $(PY) -m portal.demo.run

test: $(STAMP) ## run the whole test suite on SQLite and PostgreSQL, including browser tests
	@exec $(PY) -m tests.run

test-fast: $(STAMP) ## run the tests on SQLite only, without browser, simulator and other processes
	@exec $(PY) -m tests.run fast

test-long: $(STAMP) ## run the tests that take two seconds or more, and five rounds of each race
	@exec $(PY) -m tests.run long

test-dates: $(STAMP) ## run the SQLite tests under two other dates, one of them 29 February; needs faketime
	@exec $(PY) -m tests.run dates

proof: $(STAMP) ## run every case, 20 rounds of each race, chaos, crash matrix and simulation (an hour or more)
	@$(PY) -m tests.run proof
	@$(MAKE) --no-print-directory crash-matrix
	@$(MAKE) --no-print-directory simulate SEEDS=2000 PROCESSES=2
	@$(MAKE) --no-print-directory chaos ROUNDS=20

SEEDS_OF_MONTHS ?= 2
months: $(STAMP) ## compare 24 simulated months of figures with the sandbox's truth, on both databases: SEEDS_OF_MONTHS=2 SEED=1
	@MONTHS_SEEDS=$(SEEDS_OF_MONTHS) exec $(PY) -m tests.run proof -s tests/figures

bench: $(STAMP) ## measure with 100,000 accounts and 24 months, kept in .bench; needs PostgreSQL: ONLY=exports,home
	@exec $(PY) -m tests.bench measure --only "$(ONLY)"

bench-large: $(STAMP) ## the same with a million accounts and two months; takes an hour or more
	@exec $(PY) -m tests.bench measure --accounts 1000000 --months 2 --only "$(ONLY)"

limits: $(STAMP) ## test the rate limit with eight processes for five minutes
	@PACE_SECONDS=300 exec $(PY) -m pytest -n 0 -q -s tests/customers/connections/test_rate_limit.py -k eight_processes

chaos: $(STAMP) ## kill real processes, by seed: PART=workers|redis|halfopen|postgres|machines|all ROUNDS=200 SEED=n
	@exec $(PY) -m tests.chaos.run

SEEDS ?= 200
FROM ?= 0
PROCESSES ?= 1
simulate: $(STAMP) ## simulate the executor in one process, by seed: SEEDS=20000 FROM=0 PROCESSES=2
	@exec $(PY) -m tests.simulation seeds --seeds $(SEEDS) --from $(FROM) --processes $(PROCESSES)

simulate-bugs: $(STAMP) ## check that the simulation catches fifteen bugs planted in the executor
	@exec $(PY) -m tests.simulation bugs

crash-matrix: $(STAMP) ## crash every operation kind at every crash point, in four ways
	@exec $(PY) -m tests.simulation matrix

fuzz-sandbox: $(STAMP) ## fuzz the sandbox with schemathesis and the official OpenAPI files: SEED=1 EXAMPLES=50
	@exec $(PY) -m tests.fuzz.run

mutants: $(STAMP) ## run mutation tests on a sample of the core modules: SEED=1 SAMPLE=20 ONLY=engine
	@exec $(PY) -m tests.mutants

lint: $(STAMP) ## check code, templates and new migrations: ruff, mypy, import rules, djlint, migration linter
	@sh tools/lint $(VENV)

format: $(STAMP) ## format the Python code
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

check-deploy: $(STAMP) ## run the deployment checks with the environment you are about to deploy
	@exec $(PY) manage.py check --deploy --fail-level WARNING

texts: $(STAMP) ## write the English catalog, in which every text can be reviewed; needs gettext
	@SECRET_KEY=unused DJANGO_SETTINGS_MODULE=tests.settings $(PY) manage.py makemessages --locale en --no-obsolete --no-location \
		--ignore .venv --ignore tests --ignore tools
	@sed -i '/^"POT-Creation-Date/d' locale/en/LC_MESSAGES/django.po

screenshots: $(STAMP) ## create the pictures of the README and the tutorials
	@exec $(PY) -m tests.journeys.screenshots

bill-of-materials: $(STAMP) ## write bill-of-materials.json: packages of production and vendored files, as CycloneDX
	@exec $(PY) -m tools.bill_of_materials

audit-dependencies: $(STAMP) ## look up known vulnerabilities of the packages of production; exit code 75: not run
	@exec $(PY) -m tools.audit_dependencies

sdk-check: $(STAMP) ## test a provider's official SDK against the sandbox; needs Go
	@exec $(PY) -m tests.sdk.check

clean: ## remove caches and test output; keeps the data in var/
	rm -rf .pytest_cache .test-databases .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov test-results .coverage .coverage.*
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
