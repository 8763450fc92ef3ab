# Every task of the project. `make` alone lists them.
# Options for pytest, the benchmark and the server: make test ARGS="--full"
# Another Python beside the first: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
# Tests at once: most of them wait most of the time.
JOBS   ?= 3

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# What Debian is asked for, where we may ask.
APT := command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
       DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends

# Stamps: what is installed is installed again only when its lock (or our own metadata) changed.
SERVER  := $(VENV)/.server
DEV     := $(VENV)/.dev
BENCH   := $(VENV)/.bench
INTEROP := tests/interop/node_modules/.package-lock.json
PEERS   := tests/bench/peers/node_modules/.installed
VITE    := collab/console/node_modules/.package-lock.json
CONSOLE := collab/console/dist/console.html

.DEFAULT_GOAL := help
.PHONY: help install serve test abuse drill soak load lint types bench docs site sbom licences lock debian node peers \
        console clean

install: $(DEV) console ## Make .venv with the server and everything to work on it, and build the demo editor and the console

serve: $(SERVER) ## Run the server on 127.0.0.1:1234, with SQLite in ./data
	@exec $(BIN)/collab serve $(ARGS)

test: $(DEV) debian node console ## Install what the tests need and run them all (ARGS="--full": the long forms too)
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS) || { code=$$?; [ $$code = 1 ] || exit $$code; \
	  printf '\n=== What failed, once more, with the machine to itself. What passes now has a weakness of time: mend it too.\n\n'; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures=none --maxfail=3 -rfEp $(ARGS); }

abuse: $(DEV) ## Show what becomes of each kind of abuse, with figures (ARGS=--full: the long form, a half hour)
	$(BIN)/python -m pytest --abuse -q $(ARGS)

drill: $(DEV) debian node console ## Rehearse operations with the real programs (ARGS=--full: 1 GB to recover)
	$(BIN)/python -m pytest --drill -q $(ARGS)

soak: $(DEV) ## Let people come and go for an hour (SOAK_SECONDS), and print what grows; samples in build/soak.csv
	$(BIN)/python -m pytest -q --full -s tests/drills/test_soak.py $(ARGS)

load: $(BENCH) node peers ## How much this server takes on this machine, by itself, some minutes (ARGS="--quick")
	$(BIN)/python -m tests.bench --peers ours --only W1,W2,W3,W4 $(ARGS)

lint: $(DEV) ## Check style, format, the Dockerfile, and dependencies for known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/hadolint Dockerfile
	$(BIN)/python .ci/audit

types: $(DEV) ## Check types, strictly
	$(BIN)/mypy --strict

bench: $(BENCH) node peers ## Measure this server beside its peers, an hour (ARGS="--quick", "--only W1,W2 --add", "store")
	$(BIN)/python -m tests.bench $(ARGS)

docs: $(DEV) ## Write the generated reference pages anew
	$(BIN)/python docs/generate.py

site: $(DEV) ## Build the documentation as a site in build/site; a broken link is an error
	@$(BIN)/python docs/site.py

sbom: $(DEV) ## Write what the server is made of into build/sbom.json (CycloneDX)
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o build/sbom.json
	@echo "build/sbom.json"

licences: $(DEV) ## List the licences of what the server is made of; one that is not allowed is an error
	@$(BIN)/python .ci/licences

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- behind the scenes -----------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "collab needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)" >&2; \
	  echo "Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null || { $(APT) python3-venv && $(PYTHON) -m venv --clear $(VENV); } || { \
	  rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(SERVER): requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	$(PIP) install --quiet --no-deps --editable .
	@touch $@ $(SERVER)

$(BENCH): requirements-bench.lock $(DEV)
	$(PIP) install --quiet --require-hashes -r requirements-bench.lock
	@touch $@

# Debian's strace shows the tests what really reached the disk. Without it they skip, except where CI is set.
debian:
	@command -v strace >/dev/null || { $(APT) strace >/dev/null; } || { \
	  echo "strace is missing (apt-get install strace): the tests that need it cannot run" >&2; [ -z "$$CI" ]; }

# Chromium is the browser in which the demo editor is tested, on the same terms.
	@command -v chromium >/dev/null || { $(APT) chromium >/dev/null; } || { \
	  echo "chromium is missing (apt-get install chromium): the tests in a browser cannot run" >&2; [ -z "$$CI" ]; }

# nginx stands in front of the server in the drills, and reads the files under docker/nginx.
	@[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || { $(APT) nginx-light >/dev/null; } || { \
	  echo "nginx is missing (apt-get install nginx-light): the tests behind a proxy cannot run" >&2; [ -z "$$CI" ]; }
# Prometheus and Alertmanager try the files that watch a server; policy-rc.d keeps apt from starting them here.
	@command -v promtool >/dev/null && command -v amtool >/dev/null || { \
	  { [ -e /usr/sbin/policy-rc.d ] || { [ "$$(id -u)" = 0 ] && printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d \
	    && chmod +x /usr/sbin/policy-rc.d && ours=1; }; }; \
	  { $(APT) prometheus prometheus-alertmanager >/dev/null; }; done=$$?; \
	  [ -z "$$ours" ] || rm /usr/sbin/policy-rc.d; [ $$done = 0 ]; } || { \
	  echo "promtool and amtool are missing (apt-get install prometheus prometheus-alertmanager)" >&2; [ -z "$$CI" ]; }

# The editors' own clients, from npm. Without Node their tests skip, except where CI is set.
node:
	@if node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null \
	    && npm --version >/dev/null 2>&1; then \
	  $(MAKE) --no-print-directory $(INTEROP); \
	else \
	  echo "Node 20 or newer with npm is missing: the tests with real editors' clients cannot run" >&2; [ -z "$$CI" ]; \
	fi

$(INTEROP): tests/interop/package-lock.json
	cd tests/interop && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The servers to measure against, with a Node of their own. Without npm they are left out of the comparison.
peers:
	@if npm --version >/dev/null 2>&1; then \
	  $(MAKE) --no-print-directory $(PEERS); \
	else \
	  echo "Node 20 or newer with npm is missing: there will be no peers in Node to compare with" >&2; \
	fi

# better-sqlite3 is built for the Node that will run it, with the headers that came with that one.
$(PEERS): tests/bench/peers/package-lock.json
	cd tests/bench/peers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && \
	  npm rebuild node --loglevel=error && \
	  export PATH="$$PWD/node_modules/node/bin:$$PATH" && \
	  npm_config_nodedir="$$(dirname "$$(dirname "$$(ls node_modules/node/node_modules/*/include/node/node.h)")" | sed "s|^|$$PWD/|;s|/include$$||")" \
	  npm rebuild better-sqlite3 --loglevel=error
	@touch $@

NODE_FOR_VITE := node -e 'const [a, b] = process.versions.node.split("."), v = 100 * a + +b; process.exit(v >= 2212 || (v >= 2019 && v < 2100) ? 0 : 1)'

# The demo editor and the console. Without npm there are none, and their pages say so; the server needs nothing of them.
console:
	@if $(NODE_FOR_VITE) 2>/dev/null && npm --version >/dev/null 2>&1; then \
	  $(MAKE) --no-print-directory $(CONSOLE); \
	else \
	  echo "Node 20.19, 22.12 or newer with npm is missing: the demo editor and the console cannot be built" >&2; [ -z "$$CI" ]; \
	fi

$(VITE): collab/console/package-lock.json
	cd collab/console && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(CONSOLE): $(VITE) $(wildcard $(addprefix collab/console/,*.html *.js *.json admin/* demo/* shared/* public/*/*))
	cd collab/console && npm run --silent build -- --logLevel warn
	@touch $@

# The locks hold for every supported Python; `make lock ARGS=--upgrade` moves to what is newest.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" $(ARGS) pyproject.toml

lock: | $(BIN)/python
	$(PIP) install --quiet "uv>=0.9,<1"
	$(LOCK) -o requirements.lock
	$(LOCK) -o requirements-dev.lock --group dev --constraint requirements.lock
	$(subst pyproject.toml,,$(LOCK)) -o requirements-bench.lock --group bench --constraint requirements-dev.lock

clean:
	rm -rf .venv .venv-* build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/interop/node_modules \
	  tests/bench/peers/node_modules \
	  collab/console/dist collab/console/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
