// Package vm runs whole-platform tests in a small virtual machine with Debian's
// kernel and control groups version 2 alone: what most users have, whatever the
// machine is that runs the tests. `make test-vm` gives it what it needs. It is not a
// part of `make test`: where hardware does not help, it takes two minutes of
// processor time, and busy machines make it time out.
package vm
