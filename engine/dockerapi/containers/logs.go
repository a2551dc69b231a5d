package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/engine/logs"
)

var errNoLog = route.NotImplemented(errors.New("configured logging driver does not support reading"))

func (a *Area) logs(w http.ResponseWriter, r *route.Request) error {
	out, errs := r.Bool("stdout"), r.Bool("stderr")
	if !out && !errs {
		return route.Invalidf("must specify at least one of 'stdout' or 'stderr'")
	}
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	v := a.view(c)
	if v.HostConfig.LogConfig.Type == "none" {
		return errNoLog
	}
	o, err := logOptionsOf(r)
	if err != nil {
		return err
	}
	kind := route.RawStream
	if !v.Config.Tty && r.Since("1.42") {
		kind = route.MultiplexedStream
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusOK)
	flush := route.NewFlusher(w)
	if err := flush.Flush(); err != nil {
		return err
	}
	if o.Follow {
		a.mu.Lock()
		o.Done = c.run.done
		if !c.running && !c.restarting {
			o.Done = closed
		}
		a.mu.Unlock()
	}
	var prefix func() string
	if r.Bool("details") {
		prefix = func() string { return details(&v) }
	}
	return a.readLog(r.Context(), &v, o, flush, out, errs, prefix)
}

// readLog writes a log, in frames where the container has no terminal.
func (a *Area) readLog(ctx context.Context, v *view, o logs.Options, w io.Writer, out, errs bool, prefix func() string) error {
	var stdout, stderr io.Writer
	mux := route.NewMux(w)
	if out {
		stdout = mux.Stream(route.Stdout)
		if v.Config.Tty {
			stdout = w
		}
	}
	if errs {
		stderr = mux.Stream(route.Stderr)
	}
	if prefix != nil {
		stdout, stderr = detailed(stdout, prefix, o.Timestamps), detailed(stderr, prefix, o.Timestamps)
	}
	err := logs.Read(ctx, a.logPath(v.ID), o, stdout, stderr)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// logOptionsOf reads tail, since, until, timestamps and follow.
func logOptionsOf(r *route.Request) (logs.Options, error) {
	o := logs.Options{Follow: r.Bool("follow"), Timestamps: r.Bool("timestamps")}
	if t := r.Form.Get("tail"); t != "" && t != "all" {
		if n, err := strconv.ParseInt(t, 10, 64); err == nil && n >= 0 {
			o.Tail = &n
		}
	}
	var err error
	if o.Since, err = parseStamp("since", r.Form.Get("since")); err != nil {
		return o, err
	}
	if o.Until, err = parseStamp("until", r.Form.Get("until")); err != nil {
		return o, err
	}
	return o, nil
}

// parseStamp reads seconds and, after a dot, nanoseconds. 0 is no time.
func parseStamp(what, s string) (time.Time, error) {
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	t, err := filters.Seconds(s)
	if err != nil {
		return time.Time{}, route.Invalid(fmt.Errorf("invalid value for %q: %w", what, err))
	}
	return t, nil
}

// details are what the log options name of labels and environment.
func details(v *view) string {
	var out []string
	for _, k := range strings.Split(v.HostConfig.LogConfig.Config["labels"], ",") {
		if val, ok := v.Config.Labels[k]; ok && k != "" {
			out = append(out, k+"="+val)
		}
	}
	for _, k := range strings.Split(v.HostConfig.LogConfig.Config["env"], ",") {
		for _, kv := range v.Config.Env {
			if name, _, _ := strings.Cut(kv, "="); k != "" && name == k {
				out = append(out, kv)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",") + " "
}

// detailed puts a prefix before each line, after its time if it has one.
func detailed(w io.Writer, prefix func() string, timestamps bool) io.Writer {
	if w == nil {
		return nil
	}
	return &detailWriter{w, prefix(), timestamps}
}

type detailWriter struct {
	w          io.Writer
	prefix     string
	timestamps bool
}

func (d *detailWriter) Write(p []byte) (int, error) {
	stamp, rest := "", string(p)
	if d.timestamps {
		if s, r, ok := strings.Cut(rest, " "); ok {
			stamp, rest = s+" ", r
		}
	}
	if _, err := io.WriteString(d.w, stamp+d.prefix+rest); err != nil {
		return 0, err
	}
	return len(p), nil
}
