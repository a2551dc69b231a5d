// Package monitor is the small process that parents all containers of a node and
// outlives skiff: it keeps their standard streams, writes their logs, records how
// they end and lets clients attach.
package monitor
