// Package node runs the pods that are bound to one machine: it watches them,
// brings engine, network and volumes to what they ask for, probes them, reports
// their status, and serves the node's own API (logs, exec, attach, port-forward,
// stats) to the API server.
package node

import (
	"context"
	"net"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/network"
	"skiff.dev/skiff/volume"
)

// PodNetwork connects a pod's network namespace with the cluster.
type PodNetwork interface {
	// Add gives the namespace an interface and addresses, and opens the host ports.
	// Doing it again for the same pod gives the same answer.
	Add(ctx context.Context, r network.PodRequest) (network.PodStatus, error)
	// Remove undoes Add. An unknown pod is no error.
	Remove(ctx context.Context, podUID string) error
}

// Volumes makes a pod's volumes available as directories.
type Volumes interface {
	// Mount prepares every volume of the pod and returns each by its name. It fails
	// with the volume's name and what is missing; the caller tries again. Doing it
	// again refreshes contents (configMap, secret, downwardAPI, projected)
	// atomically.
	Mount(ctx context.Context, pod *v1.Pod) (map[string]volume.Mount, error)
	// Unmount takes all volumes of the pod away; what only lived with the pod is
	// deleted. An unknown pod is no error.
	Unmount(ctx context.Context, podUID string) error
}

// SubPaths is an optional ability of Volumes: it makes one file or directory inside
// a volume mountable. What it returns lies inside base whatever links sub goes
// through, is made as a directory where it does not exist, and lives until the
// pod's Unmount.
type SubPaths interface {
	SubPath(ctx context.Context, pod *v1.Pod, c *v1.Container, mount int, base volume.Mount, sub string) (string, error)
}

// PodDialer is an optional ability of PodNetwork: it connects to an address as the
// pod itself would, so that port-forward reaches what listens on the pod's
// loopback. Without it the pod's address is dialled.
type PodDialer interface {
	DialPod(ctx context.Context, podUID, netns, network, address string) (net.Conn, error)
}
