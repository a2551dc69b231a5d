// Package link is the kernel room's part for interfaces, addresses, routes and neighbours: an
// interface, the real thing, and a fake that dumps as text.
package link
