# make up    a running cluster with an example in it
# make test  every test
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
GO ?= go
# One set of flags for builds and tests, so that they share the build cache.
export GOFLAGS := -trimpath
export CGO_ENABLED := 0
KUBE := $(shell awk '$$1 == "k8s.io/kubectl" {sub("v0", "v1", $$2); print $$2}' go.mod)
LDFLAGS := -s -w \
  -X k8s.io/component-base/version.gitVersion=$(KUBE) \
  -X k8s.io/client-go/pkg/version.gitVersion=$(KUBE)
MONITOR := engine/monitor/embedded/skiff-monitor

.PHONY: help up down build deps test-deps vm-deps test test-unit test-race test-platform test-vm test-registry lint fuzz bench recorded recorded-docker clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

up: deps build ## install what is needed, build, start a cluster, deploy examples/hello and print its page
	@bin/skiff status >/dev/null 2>&1 || bin/skiff up --detach
	@examples/hello/run

down: ## stop the cluster
	bin/skiff down

build: monitor ## bin/skiff
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/skiff .

.PHONY: monitor
monitor:
	$(GO) build -ldflags '-s -w' -o $(MONITOR) ./engine/monitor/cmd/skiff-monitor

deps: ## an OCI runtime, the one package that skiff needs
	@command -v crun >/dev/null || command -v runc >/dev/null || ./install crun

test-deps: deps
	@command -v gcc >/dev/null || ./install gcc libc6-dev
	@[ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || ./install busybox-static
	@command -v runc >/dev/null || ./install runc
	@command -v crun >/dev/null || ./install crun
	@command -v curl >/dev/null || ./install curl
	@PATH=$$PATH:/sbin:/usr/sbin; command -v nft >/dev/null || ./install nftables
	@command -v docker >/dev/null && command -v docker-compose >/dev/null || ./install docker.io docker-compose

vm-deps:
	@command -v qemu-system-x86_64 >/dev/null || ./install qemu-system-x86
	@PATH=$$PATH:/sbin:/usr/sbin; command -v mkfs.ext4 >/dev/null || ./install e2fsprogs

test: test-deps build lint test-unit test-race test-platform ## every test

# Tests of the API that speak through kubectl use ours.
test-unit test-race: export PATH := $(CURDIR)/bin:$(PATH)

test-unit: bin/skips bin/kubectl
	$(GO) test -json $$($(GO) list ./... | grep -v -e /test/platform -e /test/vm) | bin/skips

# The rooms where goroutines share state, under the race detector.
RACE := ./store/... ./engine/... ./apiserver/... ./client/... ./controllers/... ./scheduler/... ./node/... ./network/... ./dns/...
# Without the tests that run BuildKit: it writes one constant from several goroutines
# (frontend/dockerfile/builder/resolvecache.go), which the detector rightly reports.
test-race: bin/kubectl
	CGO_ENABLED=1 $(GO) test -race -short $$($(GO) list $(RACE) | grep -v -e /engine/build$$ -e /dockerapi/builds$$)

test-platform: build bin/skips ## real processes, containers and network; needs root
	SKIFF=$(CURDIR)/bin/skiff $(GO) test -json -count=1 -timeout 20m ./test/platform/... | bin/skips

test-vm: test-deps vm-deps build bin/skips ## control groups version 2, in a virtual machine with Debian's kernel
	SKIFF=$(CURDIR)/bin/skiff SKIFF_VM_KERNEL=$$(test/vm/kernel bin/kernel) $(GO) test -json -count=1 -timeout 30m ./test/vm | bin/skips

bin/kubectl: build
	@ln -sf skiff $@

bin/skips: test/skips/main.go
	$(GO) build -o $@ ./test/skips

fuzz: ## each fuzz test for FUZZ of time
	@grep -rl --include='*_test.go' 'func Fuzz' . | while read f; do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
	    echo "$$t in $$(dirname $$f)"; $(GO) test $$(dirname $$f) -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZ) || exit 1; done; done
FUZZ ?= 10s

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

bench: build ## every figure of doc/performance.md beside its budget
	$(GO) run ./test/bench

test-registry: ## the OCI distribution conformance suite against our registry
	cd test/conformance/registry && $(GO) build -o $(CURDIR)/bin/oci-conformance github.com/opencontainers/distribution-spec/conformance
	OCI_CONFORMANCE=$(CURDIR)/bin/oci-conformance $(GO) test -count=1 -run Conformance ./engine/registry

.PHONY: test-testcontainers test-moby
test-testcontainers: build ## testcontainers-go against our Docker API; needs root
	cd test/conformance/testcontainers && TESTCONTAINERS_RYUK_DISABLED=true SKIFF=$(CURDIR)/bin/skiff ../with-engine $(GO) test -count=1 ./...

test-moby: build ## moby's own tests of its API against ours; needs root
	SKIFF=$(CURDIR)/bin/skiff test/conformance/moby/run

recorded: ## answers of a real Kubernetes beside ours
	$(GO) test -count=1 -v -run Recorded ./test/recorded

recorded-docker: build ## answers of a real Docker Engine beside ours; needs root
	$(GO) test -count=1 -timeout 30m -v -run RecordedDocker ./test/recordeddocker

clean:
	rm -rf bin $(MONITOR)
