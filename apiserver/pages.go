package apiserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// debugging answers /debug/pprof/: whoever may, by a rule for the path, sees the
// server's inside (--profiling). It returns false for other paths.
func (c *call) debugging() bool {
	rest, ok := strings.CutPrefix(c.info.Path, "/debug/pprof")
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	w := coded{c.w, c}
	switch rest {
	case "":
		http.Redirect(w, c.r, "/debug/pprof/", http.StatusFound)
	case "/profile":
		pprof.Profile(w, c.r)
	case "/symbol":
		pprof.Symbol(w, c.r)
	case "/trace":
		pprof.Trace(w, c.r)
	default:
		pprof.Index(w, c.r)
	}
	return true
}

const pageWarning = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"

// page is /statusz or /flagz: text for people, or an object of config.k8s.io for
// those that ask for one by its kind (server/statusz, server/flagz).
type zpage struct {
	kind string
	text func() string
	// fields are those of the object besides its type and metadata.
	fields func() map[string]any
}

// zpages answers /statusz and /flagz; false for other paths.
func (c *call) zpages() bool {
	switch c.info.Path {
	case "/statusz":
		c.zpage(&zpage{"Statusz", c.s.statusText, c.s.statusFields})
	case "/flagz":
		if c.s.opt.Flags == nil {
			return false
		}
		c.zpage(&zpage{"Flagz", c.s.flagText, func() map[string]any { return map[string]any{"flags": c.s.opt.Flags()} }})
	default:
		return false
	}
	return true
}

func (c *call) zpage(p *zpage) {
	media, version := negotiatePage(c.r.Header.Get("Accept"), p.kind)
	h := c.w.Header()
	switch media {
	case "text/plain":
		h.Set("Content-Type", "text/plain")
		fmt.Fprint(c.w, p.text())
	case "":
		c.code = http.StatusNotAcceptable
		c.fail(notAcceptable("only the following media types are accepted: application/json, application/yaml, text/plain"))
	default:
		if version == "v1alpha1" {
			h.Set("Warning", `299 - "This version of the `+strings.ToLower(p.kind)+` endpoint is deprecated. Please use a newer version."`)
		}
		o := p.fields()
		o["kind"], o["apiVersion"], o["metadata"] = p.kind, "config.k8s.io/"+version, map[string]any{"name": "apiserver"}
		b, err := json.Marshal(o)
		if err == nil && media == "application/yaml" {
			b, err = yaml.JSONToYAML(b)
		}
		if err != nil {
			c.fail(err)
			return
		}
		h.Set("Content-Type", media)
		_, _ = c.w.Write(append(b, '\n'))
	}
}

// negotiatePage finds the form of a page: an object only where its group, version
// and kind are named.
func negotiatePage(accept, kind string) (media, version string) {
	if strings.TrimSpace(accept) == "" {
		return "text/plain", ""
	}
	for _, clause := range strings.Split(accept, ",") {
		parts := strings.Split(clause, ";")
		params := map[string]string{}
		for _, p := range parts[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			params[k] = v
		}
		typed := params["g"] != "" || params["v"] != "" || params["as"] != ""
		switch t := strings.TrimSpace(parts[0]); t {
		case "text/plain", "text/*", "*/*":
			if !typed {
				return "text/plain", ""
			}
		case "application/json", "application/yaml":
			if v := params["v"]; params["g"] == "config.k8s.io" && params["as"] == kind && (v == "v1beta1" || v == "v1alpha1") {
				return t, v
			}
		}
	}
	return "", ""
}

func (s *Server) statusText() string {
	up := int64(s.opt.Now().Sub(s.started).Seconds())
	return fmt.Sprintf("\napiserver statusz\n%s\nStarted: %s\nUp: %d hr %02d min %02d sec\nGo version: %s\nBinary version: %s\nEmulation version: %s\nPaths: %s\n",
		pageWarning, s.started.Format(time.UnixDate), up/3600, up/60%60, up%60, runtime.Version(), "1.36.3", "1.36", strings.Join(s.listedPaths(), " "))
}

func (s *Server) statusFields() map[string]any {
	return map[string]any{"startTime": metav1.NewTime(s.started).Rfc3339Copy(), "uptimeSeconds": int64(s.opt.Now().Sub(s.started).Seconds()),
		"goVersion": runtime.Version(), "binaryVersion": "1.36.3", "emulationVersion": "1.36", "paths": s.listedPaths()}
}

// listedPaths are those that are for looking into the server.
func (s *Server) listedPaths() []string {
	out := []string{"/debug/pprof", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"}
	if s.opt.Flags != nil {
		out = append(out, "/flagz")
	}
	slices.Sort(out)
	return out
}

func (s *Server) flagText() string {
	var b strings.Builder
	b.WriteString("\napiserver flagz\n" + pageWarning)
	flags := s.opt.Flags()
	for _, k := range slices.Sorted(maps.Keys(flags)) {
		fmt.Fprintf(&b, "%s=%s\n", k, flags[k])
	}
	return b.String()
}
