# Everything a fresh machine with Python and make needs. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Sets of tests with targets of their own, since they take long; of the whole Airflow, `make test` has the main job.
SLOW := tests/faults tests/crash tests/kill tests/browser $(filter-out %/test_main_job.py,$(wildcard tests/e2e/test_*.py))

.PHONY: help install test test-faults test-crash test-e2e test-kill test-compose test-versions smoke-versions lint format docs demo ui bench wheel clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(INSTALLED) ## make .venv with the package and all its tools

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("pipetrack needs Python 3.10 to 3.13") if not (3, 10) <= sys.version_info[:2] <= (3, 13) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[all]' $$($(PYTHON) .ci/groups.py test lint)
	touch $@

test: $(INSTALLED) ## run all tests but those that have a target of their own
	$(BIN)/python -m pytest tests $(SLOW:%=--ignore %)

test-faults: $(INSTALLED) ## let each storage fail in each way, alone and together
	$(BIN)/python -m pytest tests/faults

test-e2e: $(INSTALLED) ## run pipelines in a whole Airflow, with everything that can go wrong but a kill
	$(BIN)/python -m pytest tests/e2e

test-crash: $(INSTALLED) ## kill processes at every step, and print what was promised and kept
	$(BIN)/python -m pytest tests/crash

test-kill: $(INSTALLED) ## kill everything that can be killed in a real Airflow, on SQLite and on PostgreSQL
	$(BIN)/python -m pytest tests/kill

.PHONY: test-browser screenshots
test-browser: $(INSTALLED) ## run the tests of the pages in a headless Chromium
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)
	$(BIN)/python -m pytest tests/browser

screenshots: $(INSTALLED) ## the same, and write the pages' screenshots into docs/images
	$(BIN)/python -m pytest tests/browser --screenshots docs/images

test-compose: $(VENV)/.installed-compose ## run docker-compose.airflow.yml's services without Docker (needs redis-server and postgresql)
	$(BIN)/python .ci/compose.py

$(VENV)/.installed-compose: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$$($(PYTHON) .ci/groups.py compose)
	touch $@

test-versions: ## run unit, integration, fault and end-to-end tests on Airflow 3.1 to 3.4 and Python 3.10 to 3.13, and print a table
	$(PYTHON) .ci/versions.py

smoke-versions: ## run one pipeline on Airflow 3.1, 3.2 and 3.4
	$(PYTHON) .ci/versions.py --smoke

lint: $(INSTALLED) ## check style, types and the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs ## build the documentation into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/.installed-docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$$($(PYTHON) .ci/groups.py docs)
	touch $@

demo: $(INSTALLED) ## run the demo pipeline in a real Airflow and print what was tracked
	$(BIN)/python demo/run.py

ui: $(INSTALLED) ## start Airflow with the demo's folder and print URL and login
	$(BIN)/python demo/run.py --ui

bench: .venv-bench/.installed ## measure speed against hand-written Dags and other factories
	.venv-bench/bin/python benchmarks/run.py
	.venv-bench/bin/python benchmarks/inside_tasks.py
	.venv-bench/bin/python benchmarks/airflow_runs.py

.venv-bench/.installed: pyproject.toml constraints.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[all]' $$($(PYTHON) .ci/groups.py bench)
	touch $@

wheel: $(INSTALLED) ## build the package
	$(BIN)/python -m build --wheel

clean: ## remove what make has made
	rm -rf $(VENV) .venv-* .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
