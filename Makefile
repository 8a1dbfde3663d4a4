# Everything here sets up what it needs; nothing is expected but Debian, root (or sudo) and the package registries.
# Slow builds are kept outside the tree (INTACT_CACHE), what runs has its own directory (INTACT_STATE).
export INTACT_CACHE := $(or $(INTACT_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/intact)
export INTACT_STATE := $(or $(INTACT_STATE),$(or $(XDG_STATE_HOME),$(HOME)/.local/state)/intact)

VENV   := $(INTACT_CACHE)/venv
PY     := $(VENV)/bin/python
PYTHON ?= python3
NODES  ?= 1
# Containers, mounts and fanotify need root. Through sudo nothing is written into the tree.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env INTACT_CACHE=$(INTACT_CACHE) INTACT_STATE=$(INTACT_STATE) \
  INTACT_KUBE_BIN=$(INTACT_KUBE_BIN) KUBECONFIG=$(KUBECONFIG) PATH=$(PATH) PYTHONDONTWRITEBYTECODE=1)
PYTEST  := $(PY) -m pytest -o cache_dir=$(INTACT_CACHE)/pytest$(if $(AS_ROOT),-user)

.PHONY: help demo test cluster cluster-down lint types contracts unit property attack integration cluster-test bench image \
  env tools binaries lock

help:  ## this list
	@awk -F ':[^#]*## *' '/^[a-z-]+:.*##/ { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: env  ## the main job as a story on this machine (CLUSTER=current: Act 2 on the cluster of KUBECONFIG)
	@$(AS_ROOT) $(PY) -m demo $(if $(CLUSTER),--cluster $(CLUSTER))

test: lint types contracts unit property attack integration cluster-test  ## all of it, as continuous integration runs it

cluster: env  ## a Kubernetes cluster with Intact installed, to try by hand (NODES=3: three nodes)
	@$(AS_ROOT) $(PY) -m lab cluster --nodes $(NODES)

cluster-down: env  ## remove that cluster and everything of it
	@$(AS_ROOT) $(PY) -m lab down

lint: env  ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { $(VENV)/bin/ruff format --diff --quiet . ; exit 1; }

types: env  ## mypy, strict
	@$(VENV)/bin/mypy src lab

contracts: env  ## which room may import which (import-linter)
	@$(VENV)/bin/lint-imports --no-cache

unit: env  ## unit tests
	@$(PYTEST) tests/unit

property: env  ## laws that hold for every input
	@$(AS_ROOT) $(PYTEST) tests/property

attack: env  ## one test for each attack, against a real container runtime
	@$(AS_ROOT) $(PYTEST) tests/attack

integration: env  ## against real containerd, registry, rsyslog
	@$(AS_ROOT) $(PYTEST) tests/integration

cluster-test: binaries  ## against a real Kubernetes node
	@$(AS_ROOT) $(PYTEST) tests/cluster

bench: env  ## measurements, as ratios (docs/benchmarks.md)
	@bash lab/setup.sh aide
	@$(AS_ROOT) $(PY) -m bench

image: env  ## the container image of Intact, as an OCI layout in the cache
	@$(AS_ROOT) $(PY) -m lab image

binaries: env  ## the Kubernetes programs: 6 to 9 minutes on two cores, once
	@$(AS_ROOT) $(PY) -m lab binaries >/dev/null

tools:  ## the Debian packages that all this needs
	@bash lab/setup.sh

env: tools $(VENV)/.ready  ## the Python environment
	@mkdir -p $(dir $(INTACT_STATE))

$(VENV)/.ready: requirements.lock pyproject.toml | tools
	@mkdir -p $(INTACT_CACHE)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Python environment: $(VENV)" >&2
	@$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

lock: env  ## pin every dependency with its hashes
	@$(PY) -m pip install --quiet uv
	@$(PY) -m uv pip compile --quiet --universal --extra controller --extra cli --group dev --generate-hashes --no-header \
	  pyproject.toml -o requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --extra controller --constraint requirements.lock --generate-hashes --no-header \
	  pyproject.toml -o image/requirements.lock
