// Package platform tests the whole: the built program with real processes,
// containers and network, driven as a user drives it. Each file in testdata is a
// script (txtar, see the testscript package) against one shared instance, in a
// namespace of its own; the tests in Go are for what a script cannot say: kill -9,
// full disks, instances side by side, traces after reset.
//
// SKIFF names the program to test; the default is bin/skiff of this repository.
package platform
