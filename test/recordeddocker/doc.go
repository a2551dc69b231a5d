// Package recordeddocker plays sequences of requests, recorded together with what
// a Docker engine answered, against another engine, and tells which answers are
// equal. Files are JSON; what varies between engines (ids, times, addresses, paths)
// is normalised in both. Package recorded does the same for Kubernetes.
//
// The test plays all files against a `skiff engine` of its own (SKIFF names the
// program, by default bin/skiff of this repository); -file NAME plays some, -diff
// shows what differs, -docker ADDRESS plays against any engine.
package recordeddocker
