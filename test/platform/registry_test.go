package platform

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// registry is an OCI registry that speaks plain HTTP on localhost and holds a few
// images with the tag "1". The first part of a name is what it does:
//
//	open/app    serves it
//	closed/app  asks for user and secret
//	short/app   ends in the middle of a layer
//	liar/app    sends another layer than the digest says
type registry struct {
	*httptest.Server
	blobs  map[string][]byte
	types  map[string]string
	images map[string]registryImage // by behaviour

	mu    sync.Mutex
	asked map[string]int // manifests by behaviour
}

// registryImage are the digests of its parts. The base layer is that of the
// stand-ins, which the machine has already; the top layer is this image's own.
type registryImage struct{ manifest, config, base, top string }

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

func newRegistry(t *testing.T) *registry {
	t.Helper()
	archive, err := imageArchive()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := makeLayer(filepath.Join(filepath.Dir(archive), "standin"))
	if err != nil {
		t.Fatal(err)
	}
	g := &registry{blobs: map[string][]byte{}, types: map[string]string{}, images: map[string]registryImage{}, asked: map[string]int{}}
	for _, behaviour := range []string{"open", "closed", "short", "liar"} {
		if err := g.add(behaviour, layer); err != nil {
			t.Fatal(err)
		}
	}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

// add makes the image of one behaviour.
func (g *registry) add(behaviour string, base []byte) error {
	var own tarball
	own.file("etc/registry", 0o644, []byte(strings.Repeat(behaviour+"\n", 10000)))
	top, err := own.bytes()
	if err != nil {
		return err
	}
	describe := func(mediaType string, data []byte) (string, map[string]any) {
		d := digestOf(data)
		g.blobs[d], g.types[d] = data, mediaType
		return d, map[string]any{"mediaType": mediaType, "digest": d, "size": len(data)}
	}
	config, _ := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/standin", "serve", "80"}, "Env": []string{"PATH=/bin", "STANDIN=" + behaviour}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(base), digestOf(top)}},
	})
	var im registryImage
	var c, b, o map[string]any
	im.config, c = describe(configType, config)
	im.base, b = describe(layerType, base)
	im.top, o = describe(layerType, top)
	manifest, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": c, "layers": []any{b, o}})
	im.manifest, _ = describe(manifestType, manifest)
	g.images[behaviour] = im
	return nil
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// ref is the name of the image of one behaviour.
func (g *registry) ref(behaviour string) string {
	return g.Listener.Addr().(*net.TCPAddr).AddrPort().String() + "/" + behaviour + "/app:1"
}

// ServeHTTP answers the distribution API: /v2/NAME/manifests|blobs/REFERENCE.
func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	behaviour, _, _ := strings.Cut(path, "/")
	if user, secret, _ := r.BasicAuth(); behaviour == "closed" && (user != "robot" || secret != "s3cret") {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	digest := path[strings.LastIndexByte(path, '/')+1:]
	if digest == "1" {
		digest = g.images[behaviour].manifest
		g.mu.Lock()
		g.asked[behaviour]++
		g.mu.Unlock()
	}
	data, ok := g.blobs[digest]
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", g.types[digest])
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method == http.MethodHead {
		return
	}
	if digest == g.images[behaviour].top && behaviour == "short" {
		_, _ = w.Write(data[:len(data)/2])
		panic(http.ErrAbortHandler)
	}
	if digest == g.images[behaviour].top && behaviour == "liar" {
		data = append([]byte("lie"), data[3:]...)
	}
	_, _ = w.Write(data)
}

func (g *registry) pulls(behaviour string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[behaviour]
}

// TestRegistry pulls from a registry on localhost over plain HTTP: by hand, and for
// pods, with and without credentials, and what a registry can do wrong.
func TestRegistry(t *testing.T) {
	c, g := sharedCluster(t), newRegistry(t)
	const ns = "registry"
	must(t)(c.kubectl("create", "namespace", ns))
	t.Cleanup(func() { _, _ = c.kubectl("delete", "namespace", ns, "--wait=false") })

	t.Run("by hand", func(t *testing.T) {
		out := must(t)(c.skiff("image", "pull", g.ref("open")))
		if !strings.Contains(out, "open/app@"+g.images["open"].manifest) || !strings.Contains(out, "layer done") {
			t.Errorf("pull prints %q", out)
		}
		if out := must(t)(c.skiff("image", "ls")); !strings.Contains(out, "open/app") {
			t.Errorf("not listed: %s", out)
		}
		must(t)(c.skiff("image", "rm", g.ref("open")))
		if out := must(t)(c.skiff("image", "ls")); strings.Contains(out, "open/app") {
			t.Errorf("still listed: %s", out)
		}
	})
	for behaviour, want := range map[string]string{
		"closed": "unauthorized", "short": "registry unreachable", "liar": "corrupt content",
	} {
		t.Run(behaviour, func(t *testing.T) {
			out, err := c.skiff("image", "pull", g.ref(behaviour))
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("%v, want %q", err, want)
			}
			if out := must(t)(c.skiff("image", "ls")); strings.Contains(out, behaviour+"/app") {
				t.Errorf("half an image stays: %s", out)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		out, err := c.skiff("image", "pull", strings.TrimSuffix(g.ref("open"), "1")+"2")
		if err == nil || !strings.Contains(out, "not found") {
			t.Errorf("%v", err)
		}
	})
	t.Run("user and secret", func(t *testing.T) {
		t.Setenv("SKIFF_REGISTRY_PASSWORD", "wrong")
		if out, err := c.skiff("image", "pull", "--user=robot", g.ref("closed")); err == nil || !strings.Contains(out, "unauthorized") {
			t.Errorf("a wrong secret: %v", err)
		}
		t.Setenv("SKIFF_REGISTRY_PASSWORD", "s3cret")
		must(t)(c.skiff("image", "pull", "--user=robot", g.ref("closed")))
		must(t)(c.skiff("image", "rm", g.ref("closed")))
	})
	t.Run("pods", func(t *testing.T) { podsPull(t, c, g, ns) })
}

func podsPull(t *testing.T, c *cluster, g *registry, ns string) {
	run := func(name, behaviour, policy string, more ...string) {
		t.Helper()
		args := []string{"run", name, "-n", ns, "--image=" + g.ref(behaviour), "--image-pull-policy=" + policy}
		must(t)(c.kubectl(append(args, more...)...))
	}
	ready := func(name string) {
		t.Helper()
		must(t)(c.kubectl("wait", "-n", ns, "--for=condition=Ready", "pod/"+name, "--timeout=30s"))
	}
	failed := func(name, event string) {
		t.Helper()
		must(t)(c.kubectl("wait", "-n", ns, "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff", "pod/"+name, "--timeout=30s"))
		if out := must(t)(c.kubectl("describe", "pod", name, "-n", ns)); !strings.Contains(out, event) {
			t.Errorf("pod %s: no %q in\n%s", name, event, out)
		}
	}
	// Without credentials a closed registry refuses; with those of the pod it serves.
	run("stranger", "closed", "IfNotPresent")
	must(t)(c.kubectl("create", "secret", "docker-registry", "robot", "-n", ns,
		"--docker-server="+g.Listener.Addr().String(), "--docker-username=robot", "--docker-password=s3cret"))
	failed("stranger", "Failed to pull image")
	run("friend", "closed", "IfNotPresent", `--overrides={"spec":{"imagePullSecrets":[{"name":"robot"}]}}`)
	ready("friend")
	run("cutoff", "short", "IfNotPresent")
	run("lied", "liar", "IfNotPresent")
	failed("cutoff", "Failed to pull image")
	failed("lied", "Failed to pull image")

	// Always asks the registry for every container, whatever is on the machine.
	run("first", "open", "Always")
	ready("first")
	before := g.pulls("open")
	run("second", "open", "Always")
	ready("second")
	if g.pulls("open") == before {
		t.Error("policy Always did not ask the registry")
	}
	before = g.pulls("open")
	run("third", "open", "IfNotPresent")
	ready("third")
	if g.pulls("open") != before {
		t.Error("policy IfNotPresent asked the registry for what is there")
	}
	// What was pulled is no use to Always once the registry is gone, as in
	// Kubernetes; what is loaded under the same name is.
	g.Close()
	run("gone", "open", "Always")
	failed("gone", "Failed to pull image")
	run("still", "open", "IfNotPresent")
	ready("still")
	must(t)(c.skiff("image", "load", dockerArchive(t, g)))
	run("loaded", "open", "Always")
	ready("loaded")
	if out := must(t)(c.kubectl("describe", "pod", "loaded", "-n", ns)); !strings.Contains(out, "RegistryUnavailable") {
		t.Errorf("no event says that the loaded image is used:\n%s", out)
	}
}

// dockerArchive writes the registry's image as a docker archive under its name.
func dockerArchive(t *testing.T, g *registry) string {
	t.Helper()
	var a tarball
	im := g.images["open"]
	index, _ := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{g.ref("open")}, "Layers": []string{"base.tar", "top.tar"}}})
	a.file("config.json", 0o644, g.blobs[im.config])
	a.file("base.tar", 0o644, g.blobs[im.base])
	a.file("top.tar", 0o644, g.blobs[im.top])
	a.file("manifest.json", 0o644, index)
	data, err := a.bytes()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
