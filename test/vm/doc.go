// Package vm runs whole-platform tests in a small virtual machine with Debian's
// kernel and control groups version 2 alone: what most users have, whatever the
// machine is that runs the tests. `make test-vm` gives it what it needs.
package vm
