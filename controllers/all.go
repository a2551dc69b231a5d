// Package controllers lists the reconcilers of the control plane. Each is one
// folder below, written against controller-runtime's interfaces, so that it would
// run unchanged against any Kubernetes. All is the one list of them.
package controllers
