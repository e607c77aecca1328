# make run    the default study, from nothing to figures and report
# make test   the whole test suite
# make lint   formatting, types, workflow
#
# PYTHON=python3.12        another interpreter (3.11, 3.12 or 3.13)
# TORCH_INDEX=URL          another source of torch builds, e.g. CPU-only ones
# STUDY=smoke CORES=2      another study, fewer cores

PYTHON ?= python3
TORCH_INDEX ?=
CORES ?= all
STUDY ?=
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SNAKEMAKE := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" snakemake

.PHONY: run test lint format clean

run: $(VENV)/installed
	$(SNAKEMAKE) --cores $(CORES) $(if $(STUDY),--config study=$(STUDY))
	@$(VENV)/bin/saltus where $(STUDY)

test: $(VENV)/installed-test
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" python -m pytest

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff format --check src tests bench
	$(VENV)/bin/ruff check src tests bench
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check Snakefile workflow
	@# The environment is the one of this Makefile: rules name no conda environment of their own.
	@$(SNAKEMAKE) --lint > $(VENV)/lint.log 2>&1; grep -q '^    \* ' $(VENV)/lint.log || { cat $(VENV)/lint.log; exit 1; }
	@! grep '^    \* ' $(VENV)/lint.log | grep -v 'Specify a conda environment'
	@# A merge that was never finished.
	@! grep -rnE '^(<<<<<<<|>>>>>>>) ' README.md docs src tests bench workflow studies config.yaml

format: $(VENV)/installed-test
	$(VENV)/bin/ruff check --fix src tests bench
	$(VENV)/bin/ruff format src tests bench
	$(VENV)/bin/snakefmt Snakefile workflow

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c '' 2>/dev/null || { echo "saltus: $(PYTHON) does not run; expected Python 3.11, 3.12 or 3.13 (try: make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit("saltus: $(PYTHON) is Python %d.%d; expected 3.11, 3.12 or 3.13 (try: make PYTHON=python3.12)" % v if not (3, 11) <= v <= (3, 13) else 0)'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "saltus: $(PYTHON) has no venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "saltus: installing into $(VENV); this takes a few minutes"
	$(if $(TORCH_INDEX),$(PIP) install --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@
