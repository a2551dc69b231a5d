// Package podspec turns what a pod asks for into what the engine runs: the
// environment, commands, users, limits, mounts and the files that Kubernetes puts
// into every container. Pure functions; package node fetches the inputs and
// writes the files.
package podspec
