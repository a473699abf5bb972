# `make up` and `make test` need git, make and Python 3.11, 3.12 or 3.13, nothing else.
.DEFAULT_GOAL := help
.PHONY: help venv up env status logs down clean lint test unit awx speed calls paths faults policies molecule e2e image stand-in bench docs

PYTHON_FINDER := $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11 || echo python3)
BOOTSTRAP := "$(PYTHON_FINDER)" local/bootstrap.py
LOCAL := .venv/bin/python -m local
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
export STORAGE EXPOSURE ENGINE PORT UNIT
# Another project's packages must not get in the way of the pinned ones.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH

help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

venv: ## Make the environments from the pins
	@$(BOOTSTRAP)

up: venv ## Bring up an AWS on this machine and MLflow on it (STORAGE=rds|efs EXPOSURE=internal|public ENGINE=docker|podman PORT=n)
	@$(LOCAL) up

env: ## Print what another shell needs: eval "$(make -s env)"
	@$(LOCAL) env

status: ## Say what runs
	@$(LOCAL) status

logs: ## Follow the server's log
	@$(LOCAL) logs

down: ## Stop all of it; the data stays
	@$(LOCAL) down

clean: ## Stop all of it and remove the data
	@$(LOCAL) clean

test: ## Run every test: lint, unit, awx, speed, paths, faults, scenarios, end to end, image
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run

lint: ## Check style
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run lint

unit: ## Run the unit tests
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run unit

awx: ## Check the data in awx/ and apply it to a stand-in for AWX
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run awx

speed: ## Count the calls of a run and read their order
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run speed

calls: ## Write the expected calls of a run with nothing to do
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) WRITE_CALLS=1 pytest -q tests/speed/test_calls.py

policies: ## Write the deployer's rights from the calls of stacks that are made, changed and destroyed
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) python scripts/generate_policies.py --record

faults: ## Let every call of a run get lost, throttled or killed, one after another (ONLY=pattern); takes hours, goes on where it was
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) python -m tests.faults --resume --only "$(or $(ONLY),*)"

paths: ## Walk every pair of values of every setting; each step must end in a fresh account
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) PATHS=all tests/run paths

molecule: ## Converge every kind of stack on the emulator and remove it again
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run molecule

e2e: ## Run `make up` in a scratch clone with a real client
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run e2e

image: ## Build the image and test its containers, where docker or podman answers
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) tests/run image

stand-in: ## Make the images that `make image` would pull, from Debian packages, as root
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) python -m tests.image.stand_in

bench: ## Measure against Terraform, stock Ansible and bare boto3 (YARDSTICK=folder), and what a login costs; writes docs/
	@$(BOOTSTRAP) --tests
	@$(IN_VENV) python -m bench.logins
	@$(IN_VENV) python -m bench --up

docs: venv ## Write the generated tables
	@$(IN_VENV) .venv/bin/python scripts/generate_docs.py
