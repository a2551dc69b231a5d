// Package docker is the docker command line inside skiff: docker's own commands,
// flags and output, by Docker's library, with a root that is ours. It speaks to the
// Docker API of an instance of skiff, or to the engine that DOCKER_HOST names. It builds by the engine's BuildKit
// (build*.go), for which docker's client needs a second program. What
// an engine outside a swarm never does (services, stacks) is here in its refusing
// form; package cli decides which words of its own command line come here.
package docker
