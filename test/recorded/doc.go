// Package recorded plays sequences of requests, recorded together with what a
// Kubernetes API server answered, against another server, and tells which answers
// are equal. Files are JSON; what varies between servers (uids, times, revisions)
// is normalised in both.
package recorded
