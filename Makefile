# Two commands matter: `make assay` judges the shipped kernels and writes a report, `make test` tests the harness.
# Both set up a virtual environment from the lock first.

PYTHON ?= python3
VENV ?= .venv
OUT ?= rocassay-out
WORKERS ?= auto

BIN := $(VENV)/bin
READY := $(VENV)/.ready
HAS_GPU_TORCH := $(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null

.PHONY: help setup assay accuracy codegen isa test lint types drills lock clean

help:
	@echo 'make assay   set up, judge every shipped kernel (quick tier), drill every fault, ask the embedded model,'
	@echo '             write $(OUT)/report.html'
	@echo 'make accuracy  measure what each known defect costs end to end, write $(OUT)/accuracy/report.html'
	@echo 'make codegen compile every shipped kernel for both chips and check its machine code'
	@echo 'make isa     judge every shipped kernel as the machine code of both chips, on this CPU'
	@echo 'make test    set up, lint, check types, run all tests'
	@echo 'make drills  inject every fault and demand a red verdict for each'
	@echo 'make lock    resolve the locked set anew'
	@echo 'make clean   remove the environment and everything that was made'

# A torch that already drives a GPU here (ROCm or CUDA) is never replaced: the environment sees it and the
# lock's torch and triton are left out. The lock names every package, so nothing is resolved: torch, the largest,
# is unpacked beside the others. Bytecode is compiled by the first import of what is imported at all.
INSTALL := $(BIN)/python -m pip install --quiet --no-deps --no-compile
$(READY): requirements/lock.txt pyproject.toml
	@if $(HAS_GPU_TORCH); then \
	  $(PYTHON) -m venv --clear --system-site-packages $(VENV) && \
	  grep -vE '^(torch|triton)==' requirements/lock.txt > $(VENV)/lock.txt && $(INSTALL) -r $(VENV)/lock.txt; \
	else \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  grep -E '^torch==' requirements/lock.txt > $(VENV)/torch.txt && \
	  grep -vE '^torch==' requirements/lock.txt > $(VENV)/lock.txt && \
	  { $(INSTALL) -r $(VENV)/torch.txt & torch=$$!; $(INSTALL) -r $(VENV)/lock.txt && wait $$torch; }; \
	fi
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY)

assay: $(READY)
	@$(BIN)/rocassay run --tier quick --drills --workers $(WORKERS) --out $(OUT); verdict=$$?; \
	$(BIN)/rocassay gsm8k --out $(OUT) || verdict=1; \
	$(BIN)/rocassay report html $(OUT) || true; exit $$verdict

# The cost of each known defect end to end, beside what the kernels' own drills say.
accuracy: $(READY)
	@$(BIN)/rocassay gsm8k --drills --out $(OUT)/accuracy; verdict=$$?; \
	$(BIN)/rocassay report html $(OUT)/accuracy || true; exit $$verdict

# Cold it compiles for minutes; Triton's cache makes the next run short.
codegen: $(READY)
	$(BIN)/rocassay codegen

# Cold it compiles every specialisation; the next run finds them in Triton's cache.
isa: $(READY)
	$(BIN)/rocassay run --engine isa --tier quick --workers $(WORKERS) --out $(OUT)/isa

drills: $(READY)
	$(BIN)/rocassay drill --workers $(WORKERS)

# Types are checked beside the tests, which wait for children and the disk now and then; what was found is told last.
test: lint
	@$(BIN)/pyright --pythonpath $(BIN)/python > $(VENV)/types.txt 2>&1 & types=$$!; \
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS); tests=$$?; \
	wait $$types; typed=$$?; cat $(VENV)/types.txt; exit $$((tests ? tests : typed))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright --pythonpath $(BIN)/python

lock:
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)-lock/bin/python -m pip install --quiet triton==3.9.0 'setuptools>=77' '.[test]'
	$(VENV)-lock/bin/python -m pip freeze --all --exclude rocassay --exclude pip | sed 's/+cpu$$//; s/ @ .*//' > requirements/lock.txt
	rm -rf $(VENV)-lock build

clean:
	rm -rf $(VENV) $(VENV)-lock $(OUT) build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
