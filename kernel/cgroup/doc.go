// Package cgroup is the kernel room's part for control groups of versions 1 and 2: an
// interface, the real thing, and a fake that dumps as text.
package cgroup
