// Package recordeddocker plays sequences of requests, recorded together with what
// a Docker engine answered, against another engine, and tells which answers are
// equal. Files are JSON; what varies between engines (ids, times, addresses, paths)
// is normalised in both. Package recorded does the same for Kubernetes.
package recordeddocker
