// Package network connects pods: an interface and an address for each, routes
// between nodes, host ports, services and network policy. It decides from API
// objects what the kernel should hold and changes what differs, through the
// kernel room.
package network

import v1 "k8s.io/api/core/v1"

// PodRequest names a pod and what it wants of the network.
type PodRequest struct {
	UID, Namespace, Name string
	NetNS                string // path of the pinned network namespace
	HostPorts            []HostPort
}

// HostPort maps a port of the machine to one of the pod.
type HostPort struct {
	Protocol v1.Protocol
	HostIP   string // "" is every address
	Host     uint16
	Pod      uint16
}

// PodStatus is what a pod got; the first address is its primary one.
type PodStatus struct{ IPs []string }
