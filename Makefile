# Everything here sets up what it needs; nothing is expected but Debian, root (or sudo) and the package registries.
# Slow builds are kept outside the tree (INTACT_CACHE), what runs has its own directory (INTACT_STATE).
export INTACT_CACHE := $(or $(INTACT_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/intact)
export INTACT_STATE := $(or $(INTACT_STATE),$(or $(XDG_STATE_HOME),$(HOME)/.local/state)/intact)

VENV   := $(INTACT_CACHE)/venv
PY     := $(VENV)/bin/python
PYTHON ?= python3
NODES  ?= 1
# The environment is shared by every tree of this user; what runs is the code of this one.
export PYTHONPATH := $(CURDIR)/src:$(CURDIR)
# Containers, mounts and fanotify need root. Through sudo nothing is written into the tree.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env INTACT_CACHE=$(INTACT_CACHE) INTACT_STATE=$(INTACT_STATE) \
  INTACT_KUBE_BIN=$(INTACT_KUBE_BIN) INTACT_TEST_CLUSTER=$(INTACT_TEST_CLUSTER) KUBECONFIG=$(KUBECONFIG) REGISTRY=$(REGISTRY) CI=$(CI) PATH=$(PATH) \
  $(if $(INTACT_RANDOM_STACKS),INTACT_RANDOM_STACKS=$(INTACT_RANDOM_STACKS)) $(if $(INTACT_CHURN),INTACT_CHURN=$(INTACT_CHURN)) \
  $(if $(INTACT_RANDOM_OVERLAYS),INTACT_RANDOM_OVERLAYS=$(INTACT_RANDOM_OVERLAYS)) \
  PYTHONPATH=$(PYTHONPATH) PYTHONDONTWRITEBYTECODE=1)
PYTEST  := $(PY) -m pytest -o cache_dir=$(INTACT_CACHE)/pytest$(if $(AS_ROOT),-user)

.NOTPARALLEL:
.PHONY: help demo test cluster cluster-down lint types contracts unit property attack integration kernels cluster-test bench image \
  env tools binaries lock

help:  ## this list
	@awk -F ':[^#]*## *' '/^[a-z-]+:.*##/ { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: env  ## the main job as a story on this machine (CLUSTER=current: Act 2 on the cluster of KUBECONFIG)
	@$(AS_ROOT) $(PY) -m demo $(if $(CLUSTER),--cluster $(CLUSTER))

test: lint types contracts binaries image  ## all of it, as continuous integration runs it
	@echo "tests: unit, property, fuzz, attack, integration, cluster; the twenty slowest are listed at the end" >&2
	@$(AS_ROOT) $(PYTEST) --durations=20 --durations-min=5 \
	  tests/unit tests/property tests/fuzz tests/attack tests/integration tests/kernels tests/cluster

cluster: env  ## a Kubernetes cluster with Intact installed, to try by hand (NODES=3: three nodes)
	@$(AS_ROOT) $(PY) -m lab cluster --nodes $(NODES)

cluster-down: env  ## remove that cluster and everything of it
	@$(AS_ROOT) $(PY) -m lab down

lint: env  ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { $(VENV)/bin/ruff format --diff --quiet . ; exit 1; }

types: env  ## mypy, strict
	@$(VENV)/bin/mypy

contracts: env  ## which room may import which (import-linter)
	@$(VENV)/bin/lint-imports --no-cache

unit: env  ## unit tests
	@$(PYTEST) tests/unit

property: env  ## laws that hold for every input, and random hostile input
	@$(AS_ROOT) $(PYTEST) tests/property tests/fuzz

attack: env  ## one test for each attack, against a real container runtime
	@$(AS_ROOT) $(PYTEST) tests/attack

integration: env  ## against real containerd, registry, rsyslog
	@$(AS_ROOT) $(PYTEST) tests/integration

kernels: env  ## the observer on real 5.10, 6.1 and 6.12 kernels, under QEMU
	@$(AS_ROOT) $(PYTEST) tests/kernels

cluster-test: binaries image  ## against a real Kubernetes node
	@$(AS_ROOT) $(PYTEST) tests/cluster

bench: env  ## measurements, as ratios (docs/benchmarks.md)
	@bash lab/setup.sh aide
	@$(AS_ROOT) $(PY) -m bench

image: env  ## the container image of Intact, as an OCI layout in the cache
	@$(AS_ROOT) $(PY) -m lab image

binaries: env  ## the Kubernetes programs, and a newer container runtime: 7 to 12 minutes on two cores, once
	@$(AS_ROOT) $(PY) -m lab binaries >/dev/null

tools:  ## the Debian packages that all this needs
	@bash lab/setup.sh

env: tools  ## the Python environment
	@mkdir -p $(INTACT_CACHE) $(dir $(INTACT_STATE))
	@cmp -s requirements.lock $(VENV)/.ready || $(MAKE) --no-print-directory $(VENV)/.ready
	@cd / && PYTHONPATH= $(PY) -c 'import intact' 2>/dev/null || $(PY) -m pip install --quiet --no-deps --editable $(CURDIR)

# Made for what the lock says, not for when it was written: a second tree with the same one makes it no second time. The command `intact`
# of the environment runs the first tree's code; whatever make starts runs its own tree's (PYTHONPATH).
.PHONY: $(VENV)/.ready
$(VENV)/.ready:
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Python environment: $(VENV)" >&2
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip check >&2
	@cp requirements.lock $@

lock: env  ## pin every dependency with its hashes
	@$(PY) -m pip install --quiet uv
	@$(PY) -m uv pip compile --quiet --universal --extra controller --extra cli --extra keyless --group dev --generate-hashes --no-header \
	  pyproject.toml -o requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --extra controller --constraint requirements.lock --generate-hashes --no-header \
	  pyproject.toml -o image/requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --extra controller --extra keyless --constraint requirements.lock --generate-hashes \
	  --no-header pyproject.toml -o image/requirements-keyless.lock
