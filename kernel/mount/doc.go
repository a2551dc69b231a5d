// Package mount is the kernel room's part for mounts: an
// interface, the real thing, and a fake that dumps as text.
package mount
