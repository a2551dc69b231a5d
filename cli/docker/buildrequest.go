package docker

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/opts"
	"github.com/docker/go-units"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"
	"github.com/tonistiigi/fsutil"
)

// buildRequest is what a command line asks of BuildKit.
type buildRequest struct {
	flags   *pflag.FlagSet
	context string // a directory, what the engine fetches, or "-"
	config  *configfile.ConfigFile
	host    string // whose proxies of config count
	stdin   io.Reader
}

func (b *buildRequest) one(name string) string { return b.flags.Lookup(name).Value.String() }

func (b *buildRequest) on(name string) bool { return b.one(name) == "true" }

func (b *buildRequest) all(name string) []string {
	switch v := b.flags.Lookup(name).Value.(type) {
	case *raw:
		return v.given
	case pflag.SliceValue:
		return v.GetSlice()
	default:
		return nil
	}
}

// solveOpt is the request in BuildKit's words. remove takes away what was written
// for it.
func (b *buildRequest) solveOpt() (so client.SolveOpt, remove func() error, err error) {
	so = client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{}, LocalMounts: map[string]fsutil.FS{}}
	remove, err = b.sources(&so)
	if err != nil {
		return so, remove, err
	}
	for _, step := range []func(*client.SolveOpt) error{b.attributes, b.contexts, b.caches, b.exports, b.provide} {
		if err := step(&so); err != nil {
			return so, remove, err
		}
	}
	return so, remove, nil
}

// isRemote tells whether a context is fetched by the engine.
func isRemote(context string) bool {
	if _, ok, _ := dfgitutil.ParseGitRef(context); ok {
		return true
	}
	u, err := url.Parse(context)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// sources are the directories of the context and of the Dockerfile.
func (b *buildRequest) sources(so *client.SolveOpt) (remove func() error, err error) {
	remove = func() error { return nil }
	file, dir := b.one("file"), b.context
	if b.context == "-" {
		archive := false
		if b.stdin, archive, err = archived(b.stdin); err != nil {
			return remove, err
		}
		if archive {
			up := uploadprovider.New()
			so.FrontendAttrs["context"] = up.Add(io.NopCloser(b.stdin))
			so.Session = append(so.Session, up)
			if file != "" {
				so.FrontendAttrs["filename"] = file
			}
			return remove, nil
		}
	}
	switch {
	case b.context == "-" && file != "":
		return remove, errors.New("invalid argument: -f cannot be used with a Dockerfile from standard input")
	case isRemote(b.context):
		so.FrontendAttrs["context"] = b.context
		if file == "" {
			return remove, nil
		}
		if file != "-" { // a path in the context
			so.FrontendAttrs["filename"] = file
			return remove, nil
		}
	case b.context != "-":
		if st, err := os.Stat(dir); err != nil {
			return remove, fmt.Errorf("unable to prepare context: %w", err)
		} else if !st.IsDir() {
			return remove, fmt.Errorf("unable to prepare context: path %q is not a directory", dir)
		}
		if file == "" {
			file = filepath.Join(dir, "Dockerfile")
		}
	}
	if b.context == "-" || file == "-" {
		tmp, err := os.MkdirTemp("", "skiff-build-*")
		if err != nil {
			return remove, err
		}
		remove = func() error { return os.RemoveAll(tmp) }
		if err := writeFrom(filepath.Join(tmp, "Dockerfile"), b.stdin); err != nil {
			return remove, err
		}
		file = filepath.Join(tmp, "Dockerfile")
		if b.context == "-" {
			if dir = filepath.Join(tmp, "context"); os.Mkdir(dir, 0o700) != nil {
				return remove, fmt.Errorf("make an empty context in %s", tmp)
			}
		}
	}
	so.FrontendAttrs["filename"] = filepath.Base(file)
	if so.LocalMounts["dockerfile"], err = fsutil.NewFS(filepath.Dir(file)); err != nil {
		return remove, err
	}
	if so.FrontendAttrs["context"] == "" {
		if abs, err := filepath.Abs(dir); err == nil {
			so.SharedKey = "skiff:" + abs
		}
		so.LocalMounts["context"], err = fsutil.NewFS(dir)
	}
	return remove, err
}

// maxDockerfile bounds a Dockerfile from standard input.
const maxDockerfile = 16 << 20

func writeFrom(path string, r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err == nil && len(text) > maxDockerfile {
		err = fmt.Errorf("the Dockerfile on standard input has more than %d bytes", maxDockerfile)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// attributes are the flags that the Dockerfile frontend knows.
func (b *buildRequest) attributes(so *client.SolveOpt) error {
	a := so.FrontendAttrs
	for k, v := range b.config.ParseProxyConfig(b.host, opts.ConvertKVStringsToMapWithNil(b.all("build-arg"))) {
		if v == nil { // a name alone stands for the variable of the environment
			if e, ok := os.LookupEnv(k); ok {
				v = &e
			}
		}
		if v != nil {
			a["build-arg:"+k] = *v
		}
	}
	for k, v := range opts.ConvertKVStringsToMap(b.all("label")) {
		a["label:"+k] = v
	}
	for flag, key := range map[string]string{"target": "target", "platform": "platform", "cgroup-parent": "cgroup-parent"} {
		if v := b.one(flag); v != "" {
			a[key] = v
		}
	}
	switch mode := b.one("network"); mode {
	case "", "default":
	case "host", "none":
		a["force-network-mode"] = mode
	default:
		return fmt.Errorf("network mode %q not supported by buildkit", mode)
	}
	so.AllowedEntitlements = b.all("allow")
	if a["force-network-mode"] == "host" && !slices.Contains(so.AllowedEntitlements, "network.host") {
		so.AllowedEntitlements = append(so.AllowedEntitlements, "network.host")
	}
	if b.on("no-cache") {
		a["no-cache"] = ""
	} else if stages := b.all("no-cache-filter"); len(stages) > 0 {
		a["no-cache"] = strings.Join(stages, ",")
	}
	if b.on("pull") {
		a["image-resolve-mode"] = "pull"
	}
	var hosts []string
	for _, h := range b.all("add-host") {
		hosts = append(hosts, extraHost(h))
	}
	if len(hosts) > 0 {
		a["add-hosts"] = strings.Join(hosts, ",")
	}
	if v := b.one("shm-size"); b.flags.Changed("shm-size") {
		n, err := units.RAMInBytes(v)
		if err != nil {
			return err
		}
		a["shm-size"] = fmt.Sprint(n)
	}
	if v := b.all("ulimit"); len(v) > 0 {
		a["ulimit"] = strings.Join(v, ",")
	}
	for _, name := range []string{"provenance", "sbom"} {
		switch v := b.one(name); v {
		case "", "false", "disabled":
		case "true":
			a["attest:"+name] = ""
		default:
			a["attest:"+name] = v
		}
	}
	return nil
}

// extraHost is "name:address" or "name=address" in the second form. The address may
// have colons and brackets around it.
func extraHost(h string) string {
	i := strings.IndexAny(h, "=:")
	if i < 0 {
		return h
	}
	addr := h[i+1:]
	if inner, ok := strings.CutPrefix(addr, "["); ok {
		addr = strings.TrimSuffix(inner, "]")
	}
	return h[:i] + "=" + addr
}

// contexts are the additional ones: directories here, and what the engine finds.
func (b *buildRequest) contexts(so *client.SolveOpt) error {
	for _, v := range b.all("build-context") {
		name, from, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return fmt.Errorf("invalid context value: %s, expected key=value", v)
		}
		if layout, ok := strings.CutPrefix(from, "oci-layout://"); ok {
			if err := ociLayout(so, name, layout); err != nil {
				return fmt.Errorf("build context %s: %w", name, err)
			}
			continue
		}
		if strings.Contains(from, "://") || isRemote(from) {
			so.FrontendAttrs["context:"+name] = from
			continue
		}
		fs, err := fsutil.NewFS(from)
		if err != nil {
			return fmt.Errorf("build context %s: %w", name, err)
		}
		so.FrontendAttrs["context:"+name], so.LocalMounts[name] = "local:"+name, fs
	}
	return nil
}

// ociLayout offers a directory with an OCI layout as a context: DIR, DIR:TAG or
// DIR@DIGEST.
func ociLayout(so *client.SolveOpt, name, layout string) error {
	dir, pinned, _ := strings.Cut(layout, "@")
	tag := "latest"
	if i := strings.LastIndexByte(dir, ':'); i > strings.LastIndexByte(dir, '/') {
		dir, tag = dir[:i], dir[i+1:]
	}
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return err
	}
	if pinned == "" {
		var index imagespec.Index
		if err := json.Unmarshal(text, &index); err != nil {
			return fmt.Errorf("index of the OCI layout %s: %w", dir, err)
		}
		for _, m := range index.Manifests {
			if n := m.Annotations[imagespec.AnnotationRefName]; n == tag || n == "" && len(index.Manifests) == 1 {
				pinned = m.Digest.String()
			}
		}
		if pinned == "" {
			return fmt.Errorf("the OCI layout %s has no image %s", dir, tag)
		}
	}
	store, err := contentlocal.NewStore(dir)
	if err != nil {
		return err
	}
	if so.OCIStores == nil {
		so.OCIStores = map[string]content.Store{}
	}
	so.OCIStores[name] = store
	so.FrontendAttrs["context:"+name] = "oci-layout://" + name + "@" + pinned
	return nil
}

func (b *buildRequest) caches(so *client.SolveOpt) (err error) {
	if so.CacheImports, err = cacheEntries(b.all("cache-from")); err == nil {
		so.CacheExports, err = cacheEntries(b.all("cache-to"))
	}
	return err
}

func cacheEntries(values []string) (entries []client.CacheOptionsEntry, err error) {
	for _, v := range values {
		e := client.CacheOptionsEntry{Type: "registry"}
		if !strings.Contains(v, "=") {
			e.Attrs = map[string]string{"ref": v}
		} else if e.Attrs, err = fields(v); err != nil {
			return nil, err
		} else if t := e.Attrs["type"]; t != "" {
			e.Type = t
			delete(e.Attrs, "type")
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// fields reads "a=b,c=d", with CSV's quotes.
func fields(v string) (map[string]string, error) {
	parts, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return nil, fmt.Errorf("%q: %w", v, err)
	}
	m := make(map[string]string, len(parts))
	for _, p := range parts {
		k, val, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("%q in %q is not of the form key=value", p, v)
		}
		m[strings.ToLower(strings.TrimSpace(k))] = val
	}
	return m, nil
}

// exports: the engine's image store, or where --output says.
func (b *buildRequest) exports(so *client.SolveOpt) error {
	outputs := b.all("output")
	if len(outputs) == 0 {
		outputs = []string{"type=docker"}
	}
	for _, v := range outputs {
		if v == "-" {
			v = "type=tar,dest=-"
		} else if !strings.Contains(v, "=") {
			v = "type=local,dest=" + v
		}
		attrs, err := fields(v)
		if err != nil {
			return err
		}
		e := client.ExportEntry{Type: attrs["type"], Attrs: attrs}
		dest := attrs["dest"]
		delete(attrs, "type")
		delete(attrs, "dest")
		switch e.Type {
		case "local":
			if e.OutputDir = dest; dest == "" {
				return fmt.Errorf("output %q needs a destination", v)
			}
		case "image", "registry":
			if e.Type == "registry" {
				attrs["push"] = "true"
			}
			e.Type = "moby"
		case "docker":
			if dest == "" {
				e.Type = "moby"
				break
			}
			e.Output = fileOutput(dest)
		case "tar", "oci":
			if dest == "" {
				dest = "-"
			}
			e.Output = fileOutput(dest)
		default:
			return fmt.Errorf("output type %q is not known", e.Type)
		}
		if tags := b.all("tag"); len(tags) > 0 && e.Type != "local" && e.Type != "tar" && attrs["name"] == "" {
			attrs["name"] = strings.Join(tags, ",")
		}
		if b.on("push") && e.Type == "moby" {
			attrs["push"] = "true"
		}
		so.Exports = append(so.Exports, e)
	}
	return nil
}

// fileOutput opens where an archive goes when the build has it.
func fileOutput(dest string) func(map[string]string) (io.WriteCloser, error) {
	return func(map[string]string) (io.WriteCloser, error) {
		if dest == "-" {
			return os.Stdout, nil
		}
		return os.Create(dest)
	}
}

// provide are the secrets and SSH agents that the engine may ask this client for.
func (b *buildRequest) provide(so *client.SolveOpt) error {
	secrets, err := secretSources(b.all("secret"))
	if err != nil {
		return err
	}
	if len(secrets) > 0 {
		store, err := secretsprovider.NewStore(secrets)
		if err != nil {
			return err
		}
		so.Session = append(so.Session, secretsprovider.NewSecretProvider(store))
	}
	var agents []sshprovider.AgentConfig
	for _, v := range b.all("ssh") {
		id, paths, _ := strings.Cut(v, "=")
		a := sshprovider.AgentConfig{ID: id}
		if paths != "" {
			a.Paths = strings.Split(paths, ",")
		}
		agents = append(agents, a)
	}
	if len(agents) == 0 {
		return nil
	}
	var ssh session.Attachable
	if ssh, err = sshprovider.NewSSHAgentProvider(agents); err == nil {
		so.Session = append(so.Session, ssh)
	}
	return err
}

func secretSources(values []string) (sources []secretsprovider.Source, err error) {
	for _, v := range values {
		m, err := fields(v)
		if err != nil {
			return nil, err
		}
		s := secretsprovider.Source{ID: m["id"], FilePath: m["src"], Env: m["env"]}
		for k, val := range m {
			switch {
			case k == "id", k == "src", k == "env":
			case k == "source":
				s.FilePath = val
			case k == "type" && (val == "file" || val == "env"):
				if val == "env" && s.Env == "" {
					s.Env, s.FilePath = s.FilePath, ""
				}
			default:
				return nil, fmt.Errorf("%q in secret %q is not known", k, v)
			}
		}
		if s.ID == "" {
			return nil, fmt.Errorf("secret %q has no id", v)
		}
		sources = append(sources, s)
	}
	return sources, nil
}
