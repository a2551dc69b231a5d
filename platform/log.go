package platform

import (
	"context"
	"log"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
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
	klog.SetLogger(logr.FromSlogHandler(demoted{t.For("kubernetes").Log.Handler()}))
}

// demoted takes every record for one of the debug level.
type demoted struct{ slog.Handler }

func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	if !d.Enabled(ctx, r.Level) {
		return nil // an error is handed over without a question
	}
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }

type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Log(context.Background(), slog.LevelDebug, strings.TrimSpace(string(p)))
	return len(p), nil
}
