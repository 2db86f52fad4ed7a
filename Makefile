# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Go, make and git are all that is needed; plugins in other languages need their compilers (see .ci/run).

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all

# One file that needs nothing of the machine it runs on. (The race detector is C.)
export CGO_ENABLED := 0

GO       ?= go
BIN      := bin/penstock
MODULES  := plugins/bundle/modules
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X main.version=$(VERSION)
DIGEST   := github.com/penstock-io/penstock/plugins/bundle.digest

# counted runs a build that names each package it compiles, and shows a count instead of the names.
# What is not a package name (errors, downloads) is printed as it is.
counted = $(1) 2>&1 | awk '/^[a-z0-9._~\/-]+$$/ {n++; if (n%10==0) {printf "\r    %d packages compiled", n; fflush()}; next} {print} END {if (n>=10) print ""}'

# The plugins in other languages, by folder: those that test the SDKs, and examples. `penstock plugin build` says what is missing where a
# compiler is; then the rest is built, and the tests of that one are left out. With CI=true it is an error.
GUESTS := sdk/c sdk/rust/echo sdk/zig sdk/assemblyscript examples/json-filter examples/tcp-lines examples/csv-json examples/http-sink examples/webhook
export PATH := $(CURDIR)/.ci/node_modules/.bin:$(PATH)

# The compiler of .proto files comes from PyPI, its Go parts are tools of go.mod: all pinned, so that the same is generated everywhere. Code for
# Python runs with packages protobuf as old as its compiler and one major version newer, so that compiler is an older one.
PROTOC_VERSION        := 1.85.1
PROTOC_PYTHON_VERSION := 1.76.0
PROTOC_DIR            := .ci/python/grpcio-tools-$(PROTOC_VERSION)
PROTOC_PYTHON_DIR     := .ci/python/grpcio-tools-$(PROTOC_PYTHON_VERSION)

# Where plugins in Python find what they import: below /usr, which each of them may read. $(PYTHON) is the same with what tests need.
PYTHON ?= /usr/local/lib/penstock/python/bin/python3

.PHONY: all build proto python deadcode plugins skeleton guests test race fuzz crash damage kills powercut fanout mutated figures soak chaos mutations model bench quickstart examples tidy help

all: build vet test ## build, vet and test

build: plugins ## bin/penstock, with the plugins in it
	@echo "==> building $(BIN)"
	@digest=$$(bin/pack plugin inspect $(MODULES)/std.wasm | awk '$$1 == "sha256" {print $$2}'); \
		$(call counted,$(GO) build -v -ldflags "$(LDFLAGS) -X $(DIGEST)=$$digest" -o $(BIN) ./cmd/penstock)

plugins: skeleton ## the Wasm modules that come with the binary, and the examples in other languages
	@echo "==> building the plugins for WebAssembly (about 20 s the first time)"
	@mkdir -p bin
	@$(call counted,GOOS=wasip1 GOARCH=wasm $(GO) build -v -trimpath -buildmode=c-shared -ldflags=-s -o bin/std.wasm ./plugins/std)
	@echo "==> packing their manifest (compiles the host: 1–2 minutes the first time)"
	@$(call counted,$(GO) build -v -o bin/pack ./cmd/penstock)
	@bin/pack plugin pack bin/std.wasm --manifest plugins/std/plugin.hcl --output $(MODULES)/std.wasm
	@$(MAKE) --no-print-directory --keep-going guests

guests: $(GUESTS:%=bin/plugins/%.wasm)

.SECONDEXPANSION:
bin/plugins/%.wasm: $$(wildcard $$*/* $$*/src/* sdk/c/*.h sdk/rust/src/* sdk/zig/*.zig sdk/assemblyscript/*.ts host/plugin/toolchain/*.go)
	@echo "==> building $*"
	@mkdir -p $(@D); rm -f $@
	@code=0; bin/pack plugin build $* --output $@ 2>$@.err || code=$$?; \
	if test $$code = 3 -a "$${CI:-}" != true; then sed -n '1s|^Error: |==> $* is left out: |p' $@.err; code=0; else cat $@.err >&2; fi; \
	rm $@.err; exit $$code

# What a new plugin gets of this tree: it is embedded from here, so that `penstock plugin new` needs no network.
SKELETON := plugins/skeleton/_sdk
GO_SDK   := sdk spec/abi spec/event
# What a program in Go gets beside that: what serves an agent over gRPC, and which modules that needs.
CHILD_SDK := sdk spec/pluginpb

skeleton:
	@rm -rf $(SKELETON)/*
	@vendor=$(SKELETON)/go/github.com/penstock-io/penstock; for p in $(GO_SDK); do \
		mkdir -p $$vendor/$$p; find $$p -maxdepth 1 \( -name '*.go' -o -name '*.s' \) ! -name '*_test.go' ! -name 'child*.go' -exec cp {} $$vendor/$$p \; ; done
	@cp plugins/skeleton/child.go.txt $(SKELETON)/go/github.com/penstock-io/penstock/sdk/child.go
	@{ echo "# github.com/penstock-io/penstock v0.0.0"; echo "## explicit; go 1.26.0"; \
		for p in $(GO_SDK); do echo "github.com/penstock-io/penstock/$$p"; done; } > $(SKELETON)/go/modules.txt
	@child=$(SKELETON)/child; for p in $(CHILD_SDK); do \
		mkdir -p $$child/$$p; find $$p -maxdepth 1 -name '*.go' ! -name '*_test.go' -exec cp {} $$child/$$p \; ; done; \
		find $$child/sdk -type f ! -name 'child*.go' -delete; \
		$(GO) list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}' ./sdk | sort -u >$$child/modules.txt; \
		while read -r m v; do grep -F -e "$$m $$v " -e "$$m $$v/go.mod " go.sum; done <$$child/modules.txt >$$child/go.sum
	@mkdir -p $(SKELETON)/python && cp sdk/python/penstock/*.py sdk/python/penstock/*.pyi sdk/python/penstock/py.typed $(SKELETON)/python
	@mkdir -p $(SKELETON)/c && cp sdk/c/penstock.h $(SKELETON)/c
	@mkdir -p $(SKELETON)/zig && cp sdk/zig/penstock.zig $(SKELETON)/zig
	@mkdir -p $(SKELETON)/assemblyscript && cp sdk/assemblyscript/penstock.ts $(SKELETON)/assemblyscript
	@mkdir -p $(SKELETON)/rust && cp -r sdk/rust/Cargo.toml sdk/rust/src $(SKELETON)/rust

vet: plugins
	@$(GO) vet ./...

test: plugins ## all tests that need nothing but Go (EXCEPT=PATTERN leaves packages out, ARGS=... goes to go test)
	@echo "==> testing"
	@$(GO) test -timeout 20m $(ARGS) $$($(GO) list ./... | grep -vE '$(or $(EXCEPT),^$$)')

# What runs guests is left out, or kept short: compiling them under the race detector takes minutes. So do crashes that are simulated, step by
# step, in one goroutine.
race: plugins ## what is concurrent, under the race detector (needs a C compiler)
	@CGO_ENABLED=1 $(GO) test -race -short -timeout 30m -skip "AnyFlippedByte|ACrash" ./spec/... ./host/admin/... ./host/hop/... $$($(GO) list ./host/channel/... | grep -vE "/(crash|mutate)$$") ./host/config/... ./host/pipeline/... ./sdk/... ./plugins/std/tail ./plugins/std/spool ./plugins/std/filesink
	@CGO_ENABLED=1 $(GO) test -race -short ./host/plugin/...

quickstart: build ## a running demo: a log that is being written flows through plugins and the channel to the screen
	@$(BIN) quickstart $(ARGS)

# Where the parts of crash leave their figures for the table.
FIGURES := $(CURDIR)/bin/figures
SEEDED   = $(if $(SEED),-seed=$(SEED))

crash: build ## kill -9, SIGTERM, power cuts, failing system calls, full disks, damage, a chain of agents; one table, and what it has to hold (short; see soak)
	@rm -rf $(FIGURES)
	@failed=; for part in damage kills powercut chaos $(MORE); do $(MAKE) --no-print-directory $$part $(if $(FOR),,FOR=60s) || failed="$$failed $$part"; done; \
		$(MAKE) --no-print-directory figures || failed="$$failed figures"; \
		test -z "$$failed" || { echo "==> failed:$$failed"; exit 1; }

damage: plugins ## the part of crash that needs no machine: simulated crashes, every byte of a log changed
	@PENSTOCK_FIGURES=$(FIGURES) $(GO) test -count=1 -v -run 'FlippedByte|ACrashBeforeAnyStep' ./host/channel/wal

kills: build ## the part of crash that ends real agents, fills their disks, damages their files (Linux, root, strace)
	@PENSTOCK_FIGURES=$(FIGURES) $(GO) test -count=1 -v -timeout 60m -skip AChainOfAgents ./cmd/penstock/crash -args -agent=$(CURDIR)/$(BIN) -kills=$(or $(KILLS),50) -terms=$(or $(TERMS),10) -lines=$(or $(LINES),1000000) $(if $(HOPS),-relaykills=$(HOPS) -hopkills=$(HOPS) -rejectkills=$(HOPS) -certrounds=$(HOPS) -poisonamong=1000000) $(SEEDED)

powercut: ## the part of crash that ends, starves and fails a channel and its disk (Linux, root, /dev/fuse, loop devices, strace, mkfs.ext4, mkfs.xfs, mkfs.btrfs)
	@PENSTOCK_FIGURES=$(FIGURES) $(GO) test -count=1 -v -timeout 60m ./host/channel/wal/crash -args -states=$(or $(STATES),80) -injections=$(or $(INJECTIONS),32) -kills=$(or $(WORKERKILLS),100) -backlog=$(or $(BACKLOG),512) $(SEEDED)

fanout: plugins ## eight sinks on one channel, of which one is dead and one slow, behind five million events
	@$(GO) test -count=1 -v -timeout 10m -run ADeadAndASlowSink ./host/agent -args -backlog=5000000

mutated: # the counts of the mutation run, for the table
	@mkdir -p $(FIGURES)
	@$(MAKE) --no-print-directory -s mutations ARGS=--json > $(FIGURES)/mutations.json

figures: ## the table of what crash or soak found, and whether that is enough
	@PENSTOCK_FIGURES=$(FIGURES) $(GO) test -count=1 -v -run TestTheTable ./host/reliability -args -form=$(or $(FORM),short) $(if $(WRITE),-write)

soak: ## crash for long, with new choices each time; writes spec/reliability.md
	@$(MAKE) --no-print-directory crash KILLS=500 HOPS=100 TERMS=40 LINES=10000000 STATES=520 INJECTIONS=0 WORKERKILLS=1000 BACKLOG=5120 FOR=10m EVENTS=1000000 FORM=soak WRITE=yes MORE='fanout mutated'
	@$(GO) test -count=1 -timeout 60m -run UnderLoad ./host/agent -args -rounds=100
	@GROUP_KILLS=200 $(GO) test -count=1 -timeout 60m -run TestKillsWithAnExactGroup ./cmd/penstock

# Beside each other, since all wait most of the time: with proxies as links, on networks of their own, and how soon one of those is used again.
chaos: build ## three agents in a chain into PostgreSQL, while all of it is killed, stopped, cut off, slow, and loses packets (FOR=60s EVENTS=1000000 SEED=; root, ip, nft)
	@PENSTOCK_FIGURES=$(FIGURES) $(GO) test -count=1 -v -timeout 180m -parallel 3 -run AChainOfAgents ./cmd/penstock/crash -args -agent=$(CURDIR)/$(BIN) -chaosfor=$(or $(FOR),5m) -chaosevents=$(or $(EVENTS),$(if $(FOR),0,1000000)) $(SEEDED)

mutations: ## take each sync, check, latch and ordering of the durable channel out, and see a test fail (ARGS="--only flush.go", --json)
	@$(GO) run ./host/channel/wal/mutate $(ARGS)

model: ## every run of the small model of delivery in spec/model, and broken variants that must be caught (spin, gcc)
	@bash spec/model/check

# The goroutines of a lexer, and maps, make coverage differ from run to run: to make one input small would take its whole minute.
fuzz: plugins ## every decoder for a while (FUZZTIME=30s)
	@for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
		for t in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$f | cut -c6-); do \
			echo "==> $$t"; $(GO) test -run xxx -fuzz "^$$t$$" -fuzztime $(or $(FUZZTIME),30s) -fuzzminimizetime 10x $$(dirname $$f); \
		done; \
	done

bench: build ## the figures of spec/performance.md
	@$(GO) test -run xxx -bench . -benchtime 1s ./spec/... ./host/... ./sdk/...
	@$(BIN) bench

examples: build ## run the examples' own tests
	@$(GO) test -count=1 -v -run TestExamples ./cmd/penstock

$(PROTOC_DIR) $(PROTOC_PYTHON_DIR):
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target $@ 'grpcio-tools==$(@:.ci/python/grpcio-tools-%=%)'

proto: $(PROTOC_DIR) $(PROTOC_PYTHON_DIR) ## the code of spec/pluginpb, spec/hoppb and sdk/python, from the .proto (needs Python with pip)
	@PYTHONPATH=$(PROTOC_DIR) python3 -m grpc_tools.protoc -I spec/pluginpb \
		--plugin=protoc-gen-go="$$($(GO) tool -n protoc-gen-go)" --plugin=protoc-gen-go-grpc="$$($(GO) tool -n protoc-gen-go-grpc)" \
		--go_out=spec/pluginpb --go_opt=paths=source_relative --go-grpc_out=spec/pluginpb --go-grpc_opt=paths=source_relative plugin.proto
	@PYTHONPATH=$(PROTOC_DIR) python3 -m grpc_tools.protoc -I spec/hoppb \
		--plugin=protoc-gen-go="$$($(GO) tool -n protoc-gen-go)" --plugin=protoc-gen-go-grpc="$$($(GO) tool -n protoc-gen-go-grpc)" \
		--go_out=spec/hoppb --go_opt=paths=source_relative --go-grpc_out=spec/hoppb --go-grpc_opt=paths=source_relative hop.proto
	@PYTHONPATH=$(PROTOC_PYTHON_DIR) python3 -m grpc_tools.protoc -I spec/pluginpb --python_out=sdk/python/penstock --pyi_out=sdk/python/penstock plugin.proto

# A copy is installed: setuptools writes into the folder that it installs from.
python: ## types, tests and installation of the SDK for Python (needs what .ci/python.txt lists; PYTHON=...)
	@cd sdk/python && $(PYTHON) -m mypy --config-file pyproject.toml && $(PYTHON) -m unittest discover -s tests
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cp -r sdk/python "$$dir/sdk" && $(PYTHON) -m venv "$$dir/venv" && \
		"$$dir/venv/bin/python3" -m pip install --quiet --disable-pip-version-check "$$dir/sdk" && cd / && \
		"$$dir/venv/bin/python3" -c 'import penstock; print("==> pip install sdk/python: penstock", penstock.Builder.__module__)'

# An example of the documentation that has no output is compiled, and called by nobody.
deadcode: ## functions that nothing calls
	@out=$$($(GO) tool deadcode -test ./... | awk '!/_test.go:.*: unreachable func: Example/'); test -z "$$out" || { echo "$$out"; exit 1; }

tidy: ## the shape of the tree, formatting, go.mod
	@$(GO) test -count=1 ./host/tidy
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	@$(GO) mod tidy -diff

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
