package build

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"

	"skiff.dev/skiff/engine"
)

// Request is one build.
type Request struct {
	// ID names the build for Cancel; "" is one that nobody can cancel by name.
	ID string
	// Context is the directory of files to copy; nil when Remote is one.
	Context fsutil.FS
	// Dockerfile is where Filename is; nil is Context.
	Dockerfile fsutil.FS
	Filename   string // "" is Dockerfile
	Remote     string // URL of a git repository or an archive

	Tags     []string
	Target   string
	Platform string
	Args     map[string]string
	Labels   map[string]string
	NoCache  bool
	// Pull asks the registry for base images also where they are in the store.
	Pull       bool
	Network    string // "", default, none or host
	ExtraHosts []string
	CacheFrom  []string // images whose inline cache is used
	CacheTo    []client.CacheOptionsEntry
	ShmSize    int64
	Ulimits    []string // name=soft:hard
	Limits     Resources
	// SharedKey names where the context comes from: of one that was sent before only
	// what has changed is copied. "" shares with all that have none.
	SharedKey string
	// NoImage makes nothing of the result but the cache.
	NoImage bool
	// InlineCache writes into the image what CacheFrom reads.
	InlineCache bool
	// Session has what builds ask for: secrets, SSH agents, credentials.
	Session []session.Attachable
	// Outputs other than an image of the store; nil is that image.
	Outputs []client.ExportEntry
}

// Resources are limits of the containers of RUN; 0 and "" are none.
type Resources struct {
	Memory, MemorySwap              int64
	CPUShares, CPUPeriod, CPUQuota  int64
	CPUSetCPUs, CPUSetMems, CGroups string
}

// Result of a build.
type Result struct {
	// Digest of the manifest or index, ConfigDigest of the config; empty where no
	// image was made.
	Digest, ConfigDigest digest.Digest
}

// Build makes what the Dockerfile says. Progress is called from one goroutine, in
// order, and may be nil. Errors are BuildKit's, with their types.
func (b *Builder) Build(ctx context.Context, r Request, progress func(*client.SolveStatus)) (Result, error) {
	opt, err := r.options()
	if err != nil {
		return Result{}, err
	}
	c, err := b.client(ctx)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	if opt.SharedSession, err = session.NewSession(ctx, r.SharedKey); err != nil {
		return Result{}, err
	}
	defer b.contexts.offer(opt.SharedSession.ID(), offered{r.SharedKey, opt.LocalMounts})()
	status := make(chan *client.SolveStatus)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for s := range status {
			if progress != nil {
				progress(s)
			}
		}
	}()
	resp, err := c.Solve(ctx, nil, *opt, status)
	<-told
	if err != nil {
		return Result{}, noSpace(err)
	}
	return Result{
		Digest:       digest.Digest(resp.ExporterResponse[exptypes.ExporterImageDigestKey]),
		ConfigDigest: digest.Digest(resp.ExporterResponse[exptypes.ExporterImageConfigDigestKey]),
	}, nil
}

// noSpace gives the want of space its type: it has lost it on the way.
func noSpace(err error) error {
	if fullDisk(err) {
		return fmt.Errorf("%w: %w", engine.ErrNoSpace, err)
	}
	return err
}

func fullDisk(err error) bool { return strings.Contains(err.Error(), "no space left on device") }

func (r *Request) options() (*client.SolveOpt, error) {
	attrs, err := r.Attrs()
	if err != nil {
		return nil, err
	}
	o := &client.SolveOpt{
		Ref: r.ID, Frontend: "dockerfile.v0", FrontendAttrs: attrs, LocalMounts: map[string]fsutil.FS{},
		Session: r.Session, SharedKey: r.SharedKey, Internal: true, Exports: r.Outputs, CacheExports: r.CacheTo,
	}
	if r.Context != nil {
		o.LocalMounts["context"] = r.Context
	}
	switch {
	case r.Dockerfile != nil:
		o.LocalMounts["dockerfile"] = r.Dockerfile
	case r.Context != nil:
		o.LocalMounts["dockerfile"] = r.Context
	}
	if len(o.Exports) == 0 && !r.NoImage {
		image := client.ExportEntry{Type: exporterMoby, Attrs: map[string]string{}}
		if len(r.Tags) > 0 {
			image.Attrs[string(exptypes.OptKeyName)] = strings.Join(r.Tags, ",")
		}
		o.Exports = []client.ExportEntry{image}
	}
	for _, ref := range r.CacheFrom {
		o.CacheImports = append(o.CacheImports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
	if r.InlineCache {
		o.CacheExports = append(o.CacheExports, client.CacheOptionsEntry{Type: "inline"})
	}
	if r.Network == "host" {
		o.AllowedEntitlements = append(o.AllowedEntitlements, "network.host")
	}
	return o, nil
}

// Attrs are the options of the Dockerfile frontend.
func (r *Request) Attrs() (map[string]string, error) {
	a := map[string]string{"image-resolve-mode": "local"}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	number := func(key string, n int64) {
		if n != 0 {
			a[key] = strconv.FormatInt(n, 10)
		}
	}
	set("filename", r.Filename)
	set("target", r.Target)
	set("platform", r.Platform)
	set("context", r.Remote)
	if r.Pull {
		a["image-resolve-mode"] = "pull"
	}
	if r.NoCache {
		a["no-cache"] = ""
	}
	for k, v := range r.Args {
		a["build-arg:"+k] = v
	}
	for k, v := range r.Labels {
		a["label:"+k] = v
	}
	switch r.Network {
	case "", "default", "bridge":
	case "none", "host":
		a["force-network-mode"] = r.Network
	default:
		return nil, fmt.Errorf("%w: network mode %q not supported by buildkit", engine.ErrInvalid, r.Network)
	}
	if len(r.ExtraHosts) > 0 {
		hosts := slices.Clone(r.ExtraHosts)
		for i, h := range hosts {
			// Docker's form is name:address, the address perhaps of version 6.
			name, addr, ok := strings.Cut(h, ":")
			if !ok {
				return nil, fmt.Errorf("%w: extra host %q is not name:address", engine.ErrInvalid, h)
			}
			hosts[i] = name + "=" + strings.Trim(addr, "[]")
		}
		line, err := csvLine(hosts)
		if err != nil {
			return nil, err
		}
		a["add-hosts"] = line
	}
	number("shm-size", r.ShmSize)
	set("ulimit", strings.Join(r.Ulimits, ","))
	number("memory", r.Limits.Memory)
	number("memswap", r.Limits.MemorySwap)
	number("cpushares", r.Limits.CPUShares)
	number("cpuperiod", r.Limits.CPUPeriod)
	number("cpuquota", r.Limits.CPUQuota)
	set("cpusetcpus", r.Limits.CPUSetCPUs)
	set("cpusetmems", r.Limits.CPUSetMems)
	set("cgroup-parent", r.Limits.CGroups)
	if len(r.CacheFrom) > 0 {
		var imports []client.CacheOptionsEntry
		for _, ref := range r.CacheFrom {
			imports = append(imports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
		}
		b, err := json.Marshal(imports)
		if err != nil {
			return nil, err
		}
		a["cache-imports"] = string(b)
	}
	return a, nil
}

func csvLine(fields []string) (string, error) {
	var s strings.Builder
	w := csv.NewWriter(&s)
	if err := w.Write(fields); err != nil {
		return "", err
	}
	w.Flush()
	return strings.TrimSuffix(s.String(), "\n"), w.Error()
}

// Control is BuildKit's control API in this process; done ends the connection.
func (b *Builder) Control(ctx context.Context) (_ controlapi.ControlClient, done func() error, err error) {
	c, err := b.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	return c.ControlClient(), c.Close, nil
}
