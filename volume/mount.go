// Package volume makes a pod's volumes available as directories: each source that
// a pod can mount is one file here. volumetest holds the suite for sources.
package volume

// Mount is a volume ready for containers.
type Mount struct {
	Path     string // on the machine
	ReadOnly bool   // whatever the container says
}
