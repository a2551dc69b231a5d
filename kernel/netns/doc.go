// Package netns is the kernel room's part for pinned network namespaces and running code inside them: an
// interface, the real thing, and a fake that dumps as text.
package netns
