# make demo and make test are all that a fresh machine needs; the rest is for daily work.

# The system's interpreter is preferred: the tests compare with librpm, whose Python module
# Debian builds for that interpreter only.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYTEST_ARGS ?=
# Files are the unit, so that those with one long test begin early; a process takes 1 GiB.
PYTEST_PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
VENV := .venv
BIN := $(VENV)/bin
DESCRIPTION := setup.cfg setup.py pyproject.toml

DEBIAN_VENV := python3-venv
# What the tests compare with, and what makes their servers and images.
DEBIAN_TESTS := rpm python3-rpm createrepo-c clickhouse-server clickhouse-client xz-utils \
    rabbitmq-server openssl squashfs-tools xorriso genisoimage qemu-utils e2fsprogs fdisk \
    xfsprogs btrfs-progs dosfstools mtools db5.3-util libgcrypt20 systemd

.PHONY: help install demo test lint bench fuzz clean debian-tests

help:
	@echo "make demo     load a sample repository into an embedded database and show it"
	@echo "make test     install what the tests need and run them all"
	@echo "make install  only $(VENV), which then holds every command"
	@echo "make lint     ruff and mypy"
	@echo "make bench    measure, print, write benchmarks/latest.json"
	@echo "make fuzz     read a million damaged headers, lists and packages"
	@echo "make clean    remove what was built"

# Installs Debian packages when we are root, and names them in one line when we are not.
# $(1) package names, $(2) what they are for
define debian_packages
@command -v dpkg-query >/dev/null || exit 0; \
missing=""; \
for name in $(1); do \
    dpkg-query -W -f='$${Status}\n' $$name 2>/dev/null | grep -q ' installed$$' \
        || missing="$$missing $$name"; \
done; \
if [ -z "$$missing" ]; then \
    exit 0; \
elif [ "$$(id -u)" -eq 0 ]; then \
    echo "installing Debian packages:$$missing"; \
    export DEBIAN_FRONTEND=noninteractive; \
    { apt-get -qq update && apt-get -qq --yes --no-install-recommends install $$missing; } \
        >/dev/null || echo "$(2) needs these Debian packages:$$missing" >&2; \
else \
    echo "$(2) needs these Debian packages:$$missing" >&2; \
fi
endef

# A changed description makes a new environment: what is not required any more must not linger.
$(VENV)/base: $(DESCRIPTION)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory debian-venv
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

$(VENV)/tests: $(VENV)/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[tests]'
	@touch $@

.PHONY: debian-venv
debian-venv:
	$(call debian_packages,$(DEBIAN_VENV),the virtual environment)

debian-tests:
	$(call debian_packages,$(DEBIAN_TESTS),the test suite)

install: $(VENV)/base

demo: $(VENV)/base
	@$(BIN)/python -m tests.support.demo build/demo

test: debian-tests $(VENV)/tests
	$(BIN)/python -m pytest $(PYTEST_PARALLEL) $(PYTEST_ARGS)

lint: $(VENV)/tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: debian-tests $(VENV)/tests
	$(BIN)/python -m benchmarks

fuzz: $(VENV)/tests
	$(BIN)/python -m benchmarks.fuzz --count 1000000

clean:
	rm -rf build dist *.egg-info $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find altrepodb tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
