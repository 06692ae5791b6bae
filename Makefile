# The front door: `make help` lists what can be done. Each target makes .venv first if it must.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
RECIPE ?= smollm2
STAMP := .venv/.installed
STAGE ?= build/library
DIST ?= dist

.PHONY: help setup lock lock-images run test test-slow test-transformers5 test-images campaigns stale same manifests check audit bench serve golden compile wheel docs image clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's|^([a-z0-9-]+):.*## |\1\t|' | expand -t 20

setup: $(STAMP) ## make .venv with the locked packages and the two backbones

# A minute with uv, five with pip. uv does not read pip's settings: name an index of your own in UV_DEFAULT_INDEX.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python

$(STAMP): requirements/uv.lock requirements/dev.lock requirements/backbones.lock requirements/kserve.lock pyproject.toml
	test -x $(BIN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	$(UV_INSTALL) --compile-bytecode torch==2.13.0
	$(UV_INSTALL) --compile-bytecode --require-hashes --no-deps -r requirements/dev.lock -r requirements/backbones.lock \
		-r requirements/kserve.lock
	$(UV_INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-header

# rfc3987-syntax, which a format of jsonschema's would use, takes two seconds to import, of each process that imports jsonschema.
lock: $(STAMP) ## resolve the versions again
	$(COMPILE) pyproject.toml \
		--extra data --extra docs --extra train --extra export --extra pipelines --extra registry --extra serve --extra sign --extra dev \
		--no-emit-package torch --no-emit-package pip --no-emit-package rfc3987-syntax --no-emit-package lark \
		--output-file requirements/dev.lock
	$(COMPILE) requirements/transformers5.in --output-file requirements/transformers5.lock
	$(COMPILE) requirements/backbones.in --no-deps --output-file requirements/backbones.lock
	$(COMPILE) requirements/kserve.in --no-deps --output-file requirements/kserve.lock
	echo uv | $(COMPILE) - --constraint requirements/dev.lock --output-file requirements/uv.lock
	$(MAKE) lock-images

lock-images: $(STAMP)
	$(COMPILE) pyproject.toml --constraint requirements/dev.lock \
		--extra data --extra train --extra export --extra pipelines --extra registry --extra sign \
		--no-emit-package torch --output-file requirements/train.lock
	$(COMPILE) pyproject.toml --constraint requirements/dev.lock --extra serve --output-file requirements/serve.lock
	$(COMPILE) pyproject.toml --constraint requirements/dev.lock --extra serve-gpu --output-file requirements/serve-gpu.lock
	printf 'setuptools\nwheel\n' | $(COMPILE) - --constraint requirements/dev.lock --output-file requirements/build.lock
	$(BIN)/pip download --quiet --no-deps --dest build/torch torch==2.13.0+cpu
	printf 'torch==2.13.0+cpu \\\n    %s\n' "$$($(BIN)/pip hash build/torch/torch-2.13.0+cpu-*.whl | tail -1)" > requirements/torch-cpu.lock
	echo torch==2.13.0 | $(COMPILE) - --constraint requirements/dev.lock --output-file requirements/torch-cuda.lock

run: $(STAMP) ## run the pipeline (RECIPE=NAME DATA=... TEST=... ARGS=...)
	$(BIN)/rewardlab run --recipe $(RECIPE) $(if $(DATA),--data $(DATA)) $(if $(TEST),--test $(TEST)) $(ARGS)

FAST := not slow and not images and not campaign

test: $(STAMP) ## run the tests, five minutes on two cores (COVERAGE=1: and see that they reach every line that decides)
	$(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest -n 2 -m "$(FAST)"
	$(if $(COVERAGE),$(BIN)/python -m coverage combine --quiet)
	$(if $(COVERAGE),$(BIN)/python -m coverage report)

test-slow: $(STAMP) ## run the tests of whole runs, real servers and browsers (half an hour at most)
	$(BIN)/python -m pytest -n 2 --dist loadscope -m slow

campaigns: $(STAMP) ## run what takes minutes to hours, and store what it shows (NAMES="gate mutation")
	$(BIN)/python -m tests.campaigns run $(NAMES)

stale: $(STAMP) ## list the campaigns whose code has changed since they were run
	$(BIN)/python -m tests.campaigns stale

same: $(STAMP) ## show what differs from BASE=COMMIT of what programs rely on (bundle, IR, OpenAPI, JSON, exit codes, numbers)
	$(BIN)/python -m tests.same --base $(or $(BASE),HEAD)

test-transformers5: build/transformers5/.installed ## run the tests of models/ and of causal graphs under transformers 5, which optimum does not know
	PYTHONPATH=build/transformers5 $(BIN)/python -m pytest -n 2 -m "$(FAST)" -k "not bundle and not read_whole" tests/models tests/steps/test_export_causal.py --ignore tests/models/test_golden.py

build/transformers5/.installed: $(STAMP) requirements/transformers5.lock
	rm -rf $(@D)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r requirements/transformers5.lock
	touch $@

test-images: $(STAMP) ## run the pipeline in the containers of `make image`, and serve its champion
	$(BIN)/python -m pytest -m images tests/pipelines/test_containers.py

manifests: $(STAMP) ## hold what deploy/ renders against its rules
	$(BIN)/python -m tests.manifests

check: $(STAMP) ## lint, types, layers and secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	$(BIN)/python -m tests.secrets

audit: $(STAMP) ## ask OSV for known weaknesses of the locked packages
	$(BIN)/pip-audit --vulnerability-service osv --disable-pip --require-hashes -r requirements/dev.lock -r requirements/serve.lock \
		-r requirements/serve-gpu.lock -r requirements/train.lock

bench: $(STAMP) ## run the benchmarks quickly, results in build/
	mkdir -p build
	$(BIN)/python -m benchmarks.spine --quick --json build/spine.json
	$(BIN)/python -m benchmarks.library --quick --json build/library.json

serve: $(STAMP) ## serve the champion on port 8080
	$(BIN)/rewardlab serve $(ARGS)

golden: $(STAMP) ## record golden IR and numbers and the schemas of reports again; refuses a dirty tree
	test -z "$$(git status --porcelain)" || { echo "commit first: golden values are recorded from a clean tree"; exit 1; }
	$(BIN)/rewardlab compile
	$(BIN)/python -m tests.golden_values
	$(BIN)/python -m tests.golden_schemas

compile: $(STAMP) ## compile the pipeline to build/reward_model.yaml
	$(BIN)/rewardlab compile --out build/reward_model.yaml

wheel: $(STAMP) ## build the published library from rewardlab/ alone, in dist/
	rm -rf $(STAGE) && mkdir -p $(STAGE)
	cp -R rewardlab LICENSE $(STAGE) && mv $(STAGE)/rewardlab/pyproject.toml $(STAGE)
	$(BIN)/python -m build --wheel --no-isolation --outdir $(DIST) $(STAGE)

docs: $(STAMP) ## build the site of docs/ in build/site
	$(BIN)/python -m mkdocs build --strict --quiet

image: $(STAMP) ## build container images (TARGETS="train serve" BASE_IMAGE=python:3.11-slim TORCH=cpu|cuda)
	$(BIN)/python -m pipelines.local.images $(TARGETS) $(if $(BASE_IMAGE),--base $(BASE_IMAGE)) $(if $(TORCH),--torch $(TORCH))

clean: ## remove .venv, builds and state of runs
	rm -rf .venv build dist runs .rewardlab .mypy_cache .ruff_cache .pytest_cache
