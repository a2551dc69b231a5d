package platform

import (
	"context"
	"log"
	"log/slog"
	"strings"

	"skiff.dev/skiff/telemetry"
)

// quietLog is for net/http's complaints about clients: they are the clients'
// trouble, told at the debug level.
func quietLog(t *telemetry.Telemetry) *log.Logger {
	return log.New(debugWriter{t.Log}, "", 0)
}

type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Log(context.Background(), slog.LevelDebug, strings.TrimSpace(string(p)))
	return len(p), nil
}
