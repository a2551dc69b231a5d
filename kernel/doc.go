// Package kernel is the only room with system calls. Each facility is a folder
// with an interface, the real implementation and a faithful fake that dumps its
// state as text, so that the logic above is tested without root.
package kernel
