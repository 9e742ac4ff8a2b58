# make reproduce [TIER=default]   data, priors, samples, metrics, tables and figures of a tier of config/
# make conformance [TIER=default] the public checks of a tier's methods, PDEs and priors: its page conformance.md
# make tune [TIER=default]        trials of all methods' settings on validation states; winners go to config/methods
# make test                       the fast tests
# make test-slow                  the tests that take longer: whole runs, kills, restarts
# make slurm-test                 the workflow on a Slurm of its own on this machine (Debian, root)
# make lint                       ruff, pyright, import contracts, snakefmt, snakemake --lint
# make clean                      remove .venv, logs and all results but the published ones
#
# Each target makes the virtual environment .venv first when there is none.
PYTHON ?= python3
VENV ?= .venv
TIER ?= default
CORES ?= all
JOBS ?= 2
PYTEST = $(VENV)/bin/python -m pytest

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help reproduce conformance tune test test-slow slurm-test lint clean
.DELETE_ON_ERROR:

export OMP_NUM_THREADS = 1
export PYTHONUNBUFFERED = 1

help:
	@sed -n 's/^# //p' Makefile

reproduce: $(VENV)/.installed
	@echo "Running the tier '$(TIER)'; each job writes its log to logs/$(TIER)/ ..."
	@PATH="$(abspath $(VENV))/bin:$$PATH" snakemake --nolock --rerun-incomplete --cores $(CORES) --config tier=$(TIER)

conformance: $(VENV)/.installed
	@PATH="$(abspath $(VENV))/bin:$$PATH" snakemake --nolock --rerun-incomplete --cores $(CORES) --config tier=$(TIER) -- conformance

tune: $(VENV)/.installed
	@PATH="$(abspath $(VENV))/bin:$$PATH" snakemake --nolock --rerun-incomplete --cores $(CORES) --config tier=$(TIER) -- tune

test: $(VENV)/.installed-dev
	@echo "Running the fast tests ..."
	@$(PYTEST) --timeout 300 -n $(JOBS) --dist worksteal -m "not slow and not slurm"

test-slow: $(VENV)/.installed-dev
	@echo "Running the slow tests ..."
	@$(PYTEST) --timeout 1800 -n $(JOBS) --dist loadgroup -m "slow and not slurm"

slurm-test: $(VENV)/.installed-dev
	@echo "Running the workflow on a Slurm of its own on this machine ..."
	@$(PYTEST) --timeout 900 -m slurm

lint: $(VENV)/.installed-dev
	@echo "ruff check" && $(VENV)/bin/ruff check .
	@echo "ruff format" && $(VENV)/bin/ruff format --check .
	@echo "pyright" && $(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	@echo "import contracts" && $(VENV)/bin/lint-imports --no-cache
	@echo "snakefmt" && $(VENV)/bin/snakefmt --check Snakefile workflow
	@echo "snakemake --lint" && PATH="$(abspath $(VENV))/bin:$$PATH" snakemake --lint

clean:
	@echo "Removing $(VENV), logs and results (results/published stays) ..."
	@rm -rf $(VENV) logs .snakemake .pytest_cache .hypothesis .ruff_cache
	@find results -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.installed: requirements.txt
	@workflow/make_venv.sh $(PYTHON) $(VENV) $<
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@workflow/make_venv.sh $(PYTHON) $(VENV) $<
	@touch $@
