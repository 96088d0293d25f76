# Everything a developer does, one verb each. The work is in scripts/ and in the package itself.
# `make help` lists the verbs.

SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=
SEEDS ?= 500

# Where Python may not keep what it compiled, every process that a verb starts compiles all its code anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo dev check test sim mutants bench bench-receive lock docs clean

help: ## List the verbs
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r verb text; do printf '  make %-8s %s\n' "$$verb" "$$text"; done

demo: dev ## Watch events being published, a node being killed, and the books balancing (ARGS=--once ends by itself)
	@$(BIN)/posthouse demo $(ARGS)

dev: ## Make .venv with the locked packages and the project in it; does nothing when it is up to date
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/dev.py

check: dev ## Format, lint, types, imports and the fast tests: what every change must pass
	@$(BIN)/python scripts/check.py $(ARGS)

test: check ## All of check, then the tests with real nodes, sockets and kills
	@$(BIN)/python scripts/test_slow.py $(ARGS)

sim: dev ## Run the simulation on SEEDS=500 seeds (ARGS=--seed=7 replays one and tells everything)
	@$(BIN)/python -m posthouse.testing.simulation --seeds $(SEEDS) $(ARGS)

mutants: dev ## Plant each known bug and see that a test catches it
	@$(BIN)/python scripts/mutants.py $(ARGS)

bench-receive: dev ## Measure what accepting a request costs, against an endpoint that does nothing
	@$(BIN)/python bench/receive.py $(ARGS)

bench: dev ## Measure a node against a bare forwarder on this machine
	@$(BIN)/python bench/run.py $(ARGS)

lock: dev ## Resolve the dependencies anew into requirements/
	@$(BIN)/python scripts/lock.py $(ARGS)

docs: dev ## Write the generated parts of docs/ anew
	@$(BIN)/python scripts/docs.py

clean: ## Remove what the verbs made, except data
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
