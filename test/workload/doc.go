// Package workload loads the API of a Kubernetes server from outside, any
// server's, and measures what an operation costs: processor time of the server's
// processes as /proc tells it, and what the clients see. The benchmarks and the
// load program share it.
//
// Processor time of the server does not depend on the load program sharing its
// processors; what clients see does.
package workload
