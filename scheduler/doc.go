// Package scheduler places pods on nodes: pure functions from a snapshot of the
// cluster and a pod to a node, and a thin loop that feeds them and binds.
package scheduler
