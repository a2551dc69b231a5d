package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/version"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/store"
)

// Version is the Kubernetes version that the API answers for.
var Version = version.Info{
	Major: "1", Minor: "36", EmulationMajor: "1", EmulationMinor: "36", MinCompatibilityMajor: "1", MinCompatibilityMinor: "35",
	GitVersion: "v1.36.3+skiff", GitTreeState: "clean", BuildDate: "1970-01-01T00:00:00Z",
	GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
}

// path answers what is no resource.
func (c *call) path() {
	p := c.info.Path
	switch {
	case p == "/" || p == "/index.html":
		c.index()
		return
	case strings.HasPrefix(p, "/version/") && p != "/version/":
		c.notFound()
		return
	case p == "/version" || p == "/version/":
		c.serverVersion()
		return
	case p == "/healthz" || p == "/livez" || p == "/readyz" || strings.HasPrefix(p, "/healthz/") || strings.HasPrefix(p, "/livez/") || strings.HasPrefix(p, "/readyz/"):
		c.health()
		return
	case p == "/metrics":
		promhttp.HandlerFor(c.s.opt.Telemetry.Metrics, promhttp.HandlerOpts{}).ServeHTTP(c.w, c.r)
		return
	}
	if c.debugging() || c.zpages() {
		return
	}
	if h := c.s.pathHandler(p); h != nil {
		h.ServeHTTP(coded{c.w, c}, c.r.WithContext(auth.WithUser(c.ctx(), c.user)))
		return
	}
	c.plainNotFound()
}

// pathHandler finds the handler of the longest path that fits.
func (s *Server) pathHandler(p string) http.Handler {
	var best *PathHandler
	for i := range s.opt.Paths {
		h := &s.opt.Paths[i]
		if p == h.Path || strings.HasSuffix(h.Path, "/") && strings.HasPrefix(p, h.Path) {
			if best == nil || len(h.Path) > len(best.Path) {
				best = h
			}
		}
	}
	if best == nil {
		return nil
	}
	return best.Handler
}

func (c *call) serverVersion() {
	if c.r.Method != http.MethodGet {
		c.notAllowed()
		return
	}
	b, err := json.MarshalIndent(Version, "", "  ")
	if err != nil {
		c.fail(err)
		return
	}
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(b)
}

// checks are the named checks of each health path, under the names that tools look
// for (server/healthz and the hooks of kube-apiserver). Most name a part of Kubernetes
// that begins its work after the server has; here all of it has begun when the server
// answers.
var checks = func() map[string][]string {
	hooks := []string{
		"poststarthook/start-apiserver-admission-initializer", "poststarthook/generic-apiserver-start-informers",
		"poststarthook/priority-and-fairness-config-consumer", "poststarthook/priority-and-fairness-filter",
		"poststarthook/storage-object-count-tracker-hook", "poststarthook/start-apiextensions-informers",
		"poststarthook/start-apiextensions-controllers", "poststarthook/crd-informer-synced",
		"poststarthook/start-system-namespaces-controller", "poststarthook/peer-endpoint-reconciler-controller", "poststarthook/start-cluster-authentication-info-controller",
		"poststarthook/start-kube-apiserver-identity-lease-controller", "poststarthook/start-kube-apiserver-identity-lease-garbage-collector", "poststarthook/storage-readiness",
		"poststarthook/start-legacy-token-tracking-controller", "poststarthook/start-service-ip-repair-controllers",
		"poststarthook/rbac/bootstrap-roles", "poststarthook/scheduling/bootstrap-system-priority-classes",
		"poststarthook/priority-and-fairness-config-producer", "poststarthook/bootstrap-controller",
		"poststarthook/start-kubernetes-service-cidr-controller", "poststarthook/aggregator-reload-proxy-client-cert",
		"poststarthook/start-kube-aggregator-informers", "poststarthook/apiservice-status-local-available-controller",
		"poststarthook/apiservice-status-remote-available-controller", "poststarthook/apiservice-registration-controller",
		"poststarthook/apiservice-discovery-controller", "poststarthook/kube-apiserver-autoregistration", "autoregister-completion",
		"poststarthook/apiservice-openapi-controller", "poststarthook/apiservice-openapiv3-controller",
	}
	live := append([]string{"ping", "log", "loopback-serving-certificate", "etcd"}, hooks...)
	ready := append([]string{"ping", "log", "etcd", "etcd-readiness", "informer-sync"}, hooks...)
	return map[string][]string{"healthz": live, "livez": live, "readyz": append(ready, "shutdown")}
}()

// health answers /healthz, /livez, /readyz and the checks below them.
func (c *call) health() {
	name, check, _ := strings.Cut(strings.TrimPrefix(c.info.Path, "/"), "/")
	all := checks[name]
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if c.info.Path == "/"+name {
		c.w.Header()["X-Content-Type-Options"] = noSniff
	} else {
		if !slices.Contains(all, check) {
			c.plainNotFound()
			return
		}
		all = []string{check}
	}
	exclude := c.query["exclude"]
	var b strings.Builder
	failed := false
	for _, n := range all {
		switch {
		case slices.Contains(exclude, n):
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", n)
		case c.s.down(n):
			failed = true
			fmt.Fprintf(&b, "[-]%s failed: reason withheld\n", n)
		default:
			fmt.Fprintf(&b, "[+]%s ok\n", n)
		}
	}
	var unknown []string
	for _, n := range exclude {
		if !slices.Contains(all, n) {
			unknown = append(unknown, strconv.Quote(n))
		}
	}
	if len(unknown) > 0 {
		fmt.Fprintf(&b, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ","))
	}
	if failed {
		c.code = http.StatusInternalServerError
		http.Error(c.w, b.String()+name+" check failed", http.StatusInternalServerError)
		return
	}
	if _, verbose := c.query["verbose"]; verbose && check == "" {
		fmt.Fprintf(c.w, "%s%s check passed\n", b.String(), name)
		return
	}
	fmt.Fprint(c.w, "ok")
}

// down tells whether a check fails.
func (s *Server) down(check string) bool {
	select {
	case <-s.closing:
		return check == "shutdown"
	default:
	}
	if check == "etcd" {
		if s, ok := s.opt.Store.(store.Checked); ok && s.Failure() != nil {
			return true
		}
	}
	return false
}
