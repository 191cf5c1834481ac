# Ginnel's everyday commands. `make` alone builds; `make help` lists the rest.

GO      ?= go
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/ginnel/ginnel/internal/version.version=$(VERSION)
BIN     := bin
CMDS    := ginnel ginneld ginnel-server ginnel-relay ginnel-bench
# V=1 prints every test's name and log.
GOTEST  := $(GO) test $(if $(V),-v)
FUZZTIME ?= 10s
# A test whose log is what one wants to see.
LABTEST := bash -c 'set -o pipefail; $(GO) test -count=1 -v "$$@" | { grep -vE "^(=== | +--- PASS)" || true; }' labtest
# How many seeds bench-paths and test-random use.
BARS  ?= 50
SEEDS ?= 1000

.PHONY: build
build: ## build all programs into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(CMDS))

.PHONY: demo
demo: build ## a whole mesh on this machine, without root, until Ctrl-C (DEMO_ONCE=1: end after the checks)
	@$(GO) build -o $(BIN)/ginnel-demo ./demo
	@exec $(BIN)/ginnel-demo -bin $(BIN)

.PHONY: demo-tun
demo-tun: build ## the same with real TUN devices in network namespaces; needs root
	@$(GO) build -o $(BIN)/ginnel-demo ./demo
	@exec $(BIN)/ginnel-demo -bin $(BIN) -tun

.PHONY: test
test: test-unit test-e2e interop ## all tests; the end-to-end ones need root

.PHONY: test-unit
test-unit: ## the tests that need no root and no network
	$(GOTEST) -timeout 20m $$($(GO) list ./... | grep -v '/e2e')

.PHONY: bench-paths
bench-paths: ## what the path engine reaches in the virtual internet, beside what it has to; BARS=n seeds
	@GINNEL_LAB_BARS=$(BARS) $(LABTEST) -timeout 30m -run '^(TestBars|TestIdlePeers)$$' ./lab

.PHONY: paths-table
paths-table: ## which pairs of NATs get a direct path, and how fast (docs/paths.md)
	@$(LABTEST) -run '^TestMatrix$$' ./lab

.PHONY: test-random
test-random: ## SEEDS random scenarios in the virtual internet, 1000 unless set
	@GINNEL_LAB_SEEDS=$(SEEDS) $(LABTEST) -timeout 30m -run '^TestRandom$$' ./lab

.PHONY: test-e2e
test-e2e: ## real programs in network namespaces; needs root
	$(GOTEST) -count=1 -p 1 -timeout 25m ./e2e/...

.PHONY: interop
interop: ## against the official programs of the same protocols
	cd interop && $(GOTEST) -count=1 -timeout 20m ./...

.PHONY: race
race: ## unit tests under the race detector; slow
	CGO_ENABLED=1 $(GOTEST) -race $$($(GO) list ./... | grep -v '/e2e')

.PHONY: lint
lint: ## formatting, vet, and the house rules of docs/architecture.md
	@bad=$$(gofmt -l $$(find . -name '*.go' -not -path './bin/*' -not -path '*/testdata/*')); \
	if [ -n "$$bad" ]; then echo "not formatted by gofmt:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	cd interop && $(GO) vet ./...
	$(GO) test -count=1 ./internal/archtest
	bash -n .ci/run

.PHONY: bench
bench: build ## figures of tunnel, relay and control; the tunnel's needs root
	$(BIN)/ginnel-bench all

.PHONY: bench-official
bench-official: build ## bench, with the official programs in the same run
	mkdir -p $(BIN)/official
	cd interop && CGO_ENABLED=0 $(GO) build -o ../$(BIN)/official/ tailscale.com/cmd/tailscaled tailscale.com/cmd/tailscale tailscale.com/cmd/derper
	$(BIN)/ginnel-bench all --official $(BIN)/official

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 50x $$pkg; \
	  done; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN) dist .demo

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
