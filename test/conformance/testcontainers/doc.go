// Package testcontainers drives Skiff's Docker API by testcontainers-go, as many
// programs' own tests do: containers with wait strategies, exec, copies, logs and
// networks, made of an image of this machine. make test-testcontainers runs it.
package testcontainers
