# Everything starts here. `make help` lists the targets; each sets up .venv first.

# Not `ENV ?=`: a shell's own ENV must not choose the environment.
ENV := cartpole
ENV_STEPS :=
SEED :=
OUT :=
ARGS :=
PYTEST_ARGS :=
# The development tools need 3.11 or newer; the package itself runs on 3.10 as well.
PYTHON := $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p))))

BIN := .venv/bin
SOURCES := rllib_ez serve tuning cli tests benchmarks
STAMP := .venv/.stamp

.DEFAULT_GOAL := help
.PHONY: help setup train test check static format constraints clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo 'make train ENV=pong ENV_STEPS=2000 SEED=0 OUT=runs/pong ARGS="--set key=value"'

setup: $(STAMP) ## Make .venv with the versions of constraints.txt (PYTHON=... chooses one)

train: $(STAMP) ## Train; ENV is a preset (cartpole), a game (pong) or a Gymnasium id
	$(BIN)/ez train --env $(ENV) $(if $(ENV_STEPS),--env-steps $(ENV_STEPS)) \
		$(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT)) $(ARGS)

test: static ## All that `check` does, and every test
	$(BIN)/pytest -n 2 -m "not slow and not ray" $(PYTEST_ARGS)
	$(BIN)/pytest -n 2 --dist loadfile -m "slow or ray" $(PYTEST_ARGS)

check: static ## Format, lint, types, layers, fast tests
	$(BIN)/pytest -n 2 -m "not slow and not ray" $(PYTEST_ARGS)

static: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Mend format and what lint can mend by itself
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

constraints: $(STAMP) ## Write constraints.txt anew from what .venv holds
	$(BIN)/python .ci/constraints.py > constraints.txt.new
	mv constraints.txt.new constraints.txt
	touch $(STAMP)

clean: ## Remove caches and .venv; runs/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

# torch comes first and alone, so that a CPU build which pip has been pointed to (PIP_FIND_LINKS,
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu) is taken, and not one with CUDA.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no python3 found: install Python 3.11, 3.12 or 3.13, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Python must be 3.11, 3.12 or 3.13, got $$($(PYTHON) --version): say make PYTHON=/path/to/python"; exit 1; }
	@echo "setting up .venv ($$($(PYTHON) --version)): a few minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check torch -c constraints.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@
