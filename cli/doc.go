// Package cli is the command line: skiff's own verbs, the embedded kubectl and
// (package docker) docker. It talks to a running skiff over the API like any client,
// and over a unix socket (package localapi) for what only the same machine may ask.
// Platform adds the verbs that start and stop the process.
package cli
