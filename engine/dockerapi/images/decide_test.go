package images

import (
	"encoding/base64"
	"net/http"
	"runtime"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// records makes records of "name image" pairs; image is a word.
func records(pairs ...string) []engine.ImageRecord {
	var out []engine.ImageRecord
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, engine.ImageRecord{Name: pairs[i], Target: imagespec.Descriptor{Digest: digest.FromString(pairs[i+1])}})
	}
	return out
}

func TestDecide(t *testing.T) {
	one, two := digest.FromString("one"), digest.FromString("two")
	all := records(
		"docker.io/library/a:1", "one", "docker.io/library/a:2", "one", "reg.io/b:1", "one",
		"docker.io/library/c:latest", "two", "", "three")
	used := func(running bool) func(digest.Digest) []user {
		return func(digest.Digest) []user { return []user{{"0123456789abcdef", running, ""}} }
	}
	free := func(digest.Digest) []user { return nil }
	for _, c := range []struct {
		ref   string
		force bool
		users func(digest.Digest) []user
		want  string // names that go, "+delete"; or the error
	}{
		{"a:1", false, used(true), "docker.io/library/a:1"},
		{"a:2", true, used(true), "docker.io/library/a:2"},
		{"c", false, free, "docker.io/library/c:latest +delete"},
		{"c", false, used(false), "conflict: unable to delete c:latest (must be forced) - container 0123456789ab is using its referenced image " + short(two.String())},
		{"c", true, used(true), "docker.io/library/c:latest +dangle"},
		{one.String(), false, free, "conflict: unable to delete " + short(one.String()) + " (must be forced) - image is referenced in multiple repositories"},
		{one.Encoded()[:12], true, free, "docker.io/library/a:1 docker.io/library/a:2 reg.io/b:1 +delete"},
		{one.String(), true, used(true), "conflict: unable to delete " + short(one.String()) + " (cannot be forced) - image is being used by running container 0123456789ab"},
		{two.String(), false, used(false), "conflict: unable to delete " + short(two.String()) + " (must be forced) - image is being used by stopped container 0123456789ab"},
		{two.String(), true, used(false), "docker.io/library/c:latest +delete"},
		{digest.FromString("three").String(), false, free, " +delete"},
		{"a@" + one.String(), false, free, "docker.io/library/a:1 docker.io/library/a:2"},
		{"other@" + one.String(), false, free, "No such image: other@" + one.String()},
		{"none", false, free, "No such image: none:latest"},
		{"UPPER", false, free, "invalid reference format: repository name (library/UPPER) must be lowercase"},
	} {
		d, err := decide(all, c.ref, c.force, c.users)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			var names []string
			for _, r := range d.untag {
				names = append(names, r.Name)
			}
			got = strings.Join(names, " ")
			if d.delete != "" {
				got += " +delete"
			}
			if d.dangle {
				got += " +dangle"
			}
		}
		if got != c.want {
			t.Errorf("%s force %v: %q, want %q", c.ref, c.force, got, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	one := digest.FromString("one")
	all := records("docker.io/library/a:1", "one", "reg.io/b:1", "one", "", "two")
	for ref, want := range map[string]string{
		"a:1": "docker.io/library/a:1", one.String(): "docker.io/library/a:1", one.Encoded()[:4]: "docker.io/library/a:1",
		"reg.io/b@" + one.String(): "reg.io/b:1", digest.FromString("two").String(): "",
	} {
		if r, err := resolve(all, ref); err != nil || r.Name != want {
			t.Errorf("%s: %+v %v", ref, r, err)
		}
	}
	for ref, status := range map[string]int{"a": 404, "a:b:c": 400, "": 400, "abc": 404, "sha256:" + strings.Repeat("0", 64): 404} {
		if _, err := resolve(all, ref); route.Status(err) != status {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func FuzzDecodeAuth(f *testing.F) {
	f.Add("e30=")
	f.Fuzz(func(t *testing.T, text string) { decodeAuth(text) })
}

func TestSpare(t *testing.T) {
	one := digest.FromString("one")
	all := records("docker.io/library/a:1", "one", "docker.io/library/a:2", "one", "docker.io/library/b:1", "two", "docker.io/library/c:1", "three", "", "four")
	for _, c := range []struct{ ref, want string }{
		{"a:1", "docker.io/library/a:2"},
		{"a:2", "docker.io/library/a:1"},
		{one.Encoded()[:8], "docker.io/library/a:1"},
		{one.String(), "docker.io/library/a:1"},
		{"a@" + one.String(), "docker.io/library/a:1"},
		{"a:1@" + one.String(), "docker.io/library/a:2"},
		{"moved:1", "docker.io/library/a:1"}, // the last name stays
	} {
		var got []string
		for _, r := range spare(all, all, []claim{{one, c.ref}, {digest.FromString("four"), "x"}}) {
			got = append(got, r.Name)
		}
		if want := c.want + " docker.io/library/b:1 docker.io/library/c:1"; strings.Join(got, " ") != want {
			t.Errorf("a container of %s spares %q, want %q", c.ref, got, want)
		}
	}
}

func TestChangedExpands(t *testing.T) {
	c, err := changed(dockerspec.DockerOCIImageConfig{ImageConfig: imagespec.ImageConfig{Env: []string{"PATH=/bin", "P=80"}}},
		[]string{"ENV PATH=/usr/bin:$PATH", "LABEL at=${PATH}", "EXPOSE $P", "WORKDIR /x$P", "USER u$P", "CMD echo $PATH"})
	if err != nil {
		t.Fatal(err)
	}
	_, port := c.ExposedPorts["80/tcp"]
	if c.Env[0] != "PATH=/usr/bin:/bin" || c.Labels["at"] != "/usr/bin:/bin" || !port || c.WorkingDir != "/x80" || c.User != "u80" || c.Cmd[2] != "echo $PATH" {
		t.Errorf("%+v", c)
	}
}

func TestBest(t *testing.T) {
	v := func(arch string, image, here bool) engine.Variant {
		out := engine.Variant{Image: image, Platform: imagespec.Platform{OS: "linux", Architecture: arch}}
		if here {
			out.Config = []byte("{}")
		}
		return out
	}
	vs := []engine.Variant{v("unknown", false, true), v("sparc64", true, false), v("s390x", true, true)}
	if b := best(vs, nil); b == nil || b.Platform.Architecture != "s390x" {
		t.Errorf("of an image for other machines %+v is shown", b)
	}
	if runnable(vs, nil) != nil {
		t.Error("an image for other machines runs here")
	}
	vs = append(vs, v(runtime.GOARCH, true, true))
	if b := best(vs, nil); b == nil || b.Platform.Architecture != runtime.GOARCH || runnable(vs, nil) == nil {
		t.Errorf("%+v is shown", b)
	}
}

func TestStatements(t *testing.T) {
	image, layer := engine.Variant{Descriptor: imagespec.Descriptor{Digest: digest.FromString("image")}}, func(kind string) imagespec.Descriptor {
		return imagespec.Descriptor{Digest: digest.FromString(kind), Annotations: map[string]string{predicateType: kind}}
	}
	about := engine.Variant{For: image.Descriptor.Digest, Manifest: imagespec.Manifest{Layers: []imagespec.Descriptor{layer("a"), {}, layer("b")}}}
	other := engine.Variant{For: digest.FromString("other"), Manifest: imagespec.Manifest{Layers: []imagespec.Descriptor{layer("a")}}}
	vs := []engine.Variant{image, about, other}
	if got := statements(vs, &image, nil); len(got) != 2 {
		t.Errorf("%+v", got)
	}
	if got := statements(vs, &image, []string{"b", "c"}); len(got) != 1 || got[0].PredicateType != "b" {
		t.Errorf("%+v", got)
	}
}

func TestIdentify(t *testing.T) {
	for _, c := range []struct{ auth, host, want string }{
		{`{"username":"u","password":"p"}`, "reg.example:5000", "u p"},
		{`{"username":"u","password":"p","serveraddress":"https://reg.example:5000/v2/"}`, "reg.example:5000", "u p"},
		{`{"username":"u","password":"p","serveraddress":"other.example"}`, "reg.example:5000", " "},
		{`{"username":"u","password":"p","serveraddress":"https://index.docker.io/v1/"}`, "registry-1.docker.io", "u p"},
		{`{"username":"u","password":"p","serveraddress":"https://index.docker.io/v1/"}`, "reg.example", " "},
		{`{"identitytoken":"t","username":"u"}`, "reg.example", " t"},
		{`{"auth":"dTpw"}`, "reg.example", "u p"},
		{`{"registrytoken":"b","serveraddress":"reg.example"}`, "reg.example", "bearer b"},
		{`{"registrytoken":"b","serveraddress":"reg.example"}`, "other", ""},
		{`nonsense`, "reg.example", ""},
	} {
		o := pullOptions(http.Header{registry.AuthHeader: {base64.URLEncoding.EncodeToString([]byte(c.auth))}})
		got := ""
		if o.Credentials != nil {
			u, p, _ := o.Credentials(c.host)
			got = u + " " + p
		}
		if o.Token != nil && o.Token(c.host) != "" {
			got = "bearer " + o.Token(c.host)
		}
		if got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.auth, c.host, got, c.want)
		}
	}
}
