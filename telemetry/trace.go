package telemetry

import "context"

type traceKey struct{}

// TraceKey is the context key of a W3C traceparent: the trace in which a request is
// served. What is asked of other servers on the way carries it on.
var TraceKey any = traceKey{}

// Trace returns the context's traceparent, "" without one.
func Trace(ctx context.Context) string {
	s, _ := ctx.Value(TraceKey).(string)
	return s
}
