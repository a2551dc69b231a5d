package platform

import (
	"context"
	"log"
	"log/slog"
	"strings"

	"k8s.io/klog/v2"

	"skiff.dev/skiff/telemetry"
)

// quietLog is for net/http's complaints about clients: they are the clients'
// trouble, told at the debug level.
func quietLog(t *telemetry.Telemetry) *log.Logger {
	return log.New(debugWriter{t.Log}, "", 0)
}

// quietLibraries sends what Kubernetes' libraries log of their own accord, such as
// a client that hung up on exec, to the debug level.
func quietLibraries(t *telemetry.Telemetry) {
	klog.LogToStderr(false)
	klog.SetOutput(debugWriter{t.For("kubernetes").Log})
}

type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Log(context.Background(), slog.LevelDebug, strings.TrimSpace(string(p)))
	return len(p), nil
}
