package recordeddocker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skiff.dev/skiff/test/recorded/tree"
)

const thing = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// toy is an engine that shows what the player sends.
func toy(t *testing.T) http.Handler {
	count, release := 0, make(chan struct{})
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, `{"DockerRootDir":"/toy/root"}`) })
	mux.HandleFunc("POST /things", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Text, Addr string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/things/"+thing)
		answer(w, 201, fmt.Sprintf(`{"Id":"%s","Text":%q,"Header":%q,"Query":%q,"Ip":"10.9.8.6","Asked":%q,"Short":"%s","At":"/toy/root/x","Pid":7,"Gone":null}`,
			thing, in.Text, r.Header.Get("X-Text"), r.URL.RawQuery, in.Addr, thing[:12]))
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		if kind := r.Header.Get("Content-Type"); kind != "" {
			w.Header().Set("Content-Type", kind)
		} else {
			w.Header()["Content-Type"] = nil
		}
		in, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Write(in)
	})
	mux.HandleFunc("POST /attach", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		io.WriteString(conn, "\x01\x00\x00\x00\x00\x00\x00\x04SAY ")
		in, err := io.ReadAll(rw)
		if err != nil {
			t.Error(err)
		}
		io.WriteString(conn, "\x02\x00\x00\x00\x00\x00\x00\x05ended\x01\x00\x00\x00\x00\x00\x00\x01"+strings.ToUpper(string(in[4:])))
	})
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, `{"Waited":true}`)
	})
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, r *http.Request) {
		count++
		answer(w, 200, fmt.Sprintf(`{"N":%d}`, count))
	})
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, r *http.Request) {
		close(release)
		w.WriteHeader(204)
	})
	mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, `[{"Name":"b","Size":0},{"Name":"a","Size":9}]`)
	})
	mux.HandleFunc("GET /numbers", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, `[3,1,2]`) })
	mux.HandleFunc("GET /null", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, "null\n") })
	mux.HandleFunc("GET /progress", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, `{"stream":"a "}{"status":"x","id":"0123456789ab"}{"stream":"red\u001b[0m\u001b[91m"}{"stream":" b\n"}`+
			`{"status":"Pulled","id":"latest"}{"status":"y","progressDetail":{}}{"id":"moby.buildkit.trace","aux":"x"}{"stream":"c"}`)
	})
	mux.HandleFunc("POST /push", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, push(t, r.URL.Query().Get("to")))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect//x" {
			w.Header().Set("Location", "/redirect/x")
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// push puts a manifest into a registry, with a login, and tells the tags.
func push(t *testing.T, registry string) string {
	do := func(method, path, body string, login bool, want int) *http.Response {
		req, err := http.NewRequest(method, "http://"+registry+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		if login {
			req.SetBasicAuth("user", "secret")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != want {
			t.Errorf("%s %s: %d, not %d", method, path, res.StatusCode, want)
		}
		return res
	}
	blob, digest := "some data", digestOf([]byte("some data"))
	do("GET", "/v2/", "", false, 401).Body.Close()
	do("GET", "/v2/", "", true, 200).Body.Close()
	do("GET", "/v2/open/tags/list", "", false, 404).Body.Close()
	do("PUT", "/v2/private/x/manifests/1", "{}", false, 401).Body.Close()
	at := do("POST", "/v2/private/x/blobs/uploads/", "", true, 202)
	at.Body.Close()
	do("PATCH", at.Header.Get("Location"), blob[:4], true, 202).Body.Close()
	do("PUT", at.Header.Get("Location")+"?digest="+digest, blob[4:], true, 201).Body.Close()
	do("HEAD", "/v2/private/x/blobs/"+digest, "", true, 200).Body.Close()
	do("POST", "/v2/private/y/blobs/uploads/?from=private/x&mount="+digest, "", true, 201).Body.Close()
	do("PUT", "/v2/private/x/manifests/1", "{}", true, 201).Body.Close()
	res := do("GET", "/v2/private/x/manifests/"+digestOf([]byte("{}")), "", true, 200)
	res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("the manifest's type became %s", kind)
	}
	res = do("GET", "/v2/private/x/tags/list", "", true, 200)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(raw), `"name":"`, `"Name":"`+registry+"/", 1)
}

// TestMechanics plays a file of our own against an engine that is a toy.
func TestMechanics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "toy.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: toy(t)}
	go s.Serve(l)
	defer s.Close()
	e, err := Dial("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read("testdata/mechanics.json")
	if err != nil {
		t.Fatal(err)
	}
	results, err := Play(context.Background(), e, f)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for i := range results {
		r := &results[i]
		if !r.Compared {
			continue
		}
		compared++
		if !r.Equal {
			t.Errorf("step %d: %s %s\n%s", r.Index, r.Step.Method, r.Step.Path, Diff(r.Want, r.Got))
		}
	}
	if compared != 14 {
		t.Errorf("%d steps were compared", compared)
	}
}

// TestText holds the rules for strings.
func TestText(t *testing.T) {
	f := &File{asked: "10.1.2.3 aabbccddeeff 02:42:ac:11:00:02 10.1.0.0/16"}
	n := &normaliser{play: &play{file: f, vars: map[string]any{
		"cid": thing, "image": "sha256:" + strings.Repeat("b", 64), "name": "web",
	}}}
	for in, want := range map[string]string{
		"plain":                                  "plain",
		"no " + thing:                            "no <cid>",
		"sha256:" + strings.Repeat("b", 64):      "sha256:<image>",
		strings.Repeat("b", 12) + " x":           "<image:12> x",
		strings.Repeat("c", 64):                  "<id>",
		"0a1b2c3d4e5f, aabbccddeeff":             "<id:12>, aabbccddeeff",
		"8a1b2c3d-1111-2222-3333-1123456789ab":   "<uuid>",
		"at 2026-01-02T03:04:05.678901234Z":      "at <time>",
		"at 2026-01-02 03:04:05.678 +0000 UTC":   "at <time>",
		"2021-02-03T04:05:06Z":                   "2021-02-03T04:05:06Z",
		"10.1.2.3 10.1.2.4 10.1.0.0/16":          "10.1.2.3 <ip> 10.1.0.0/16",
		"172.17.0.2/16 172.33.0.1 192.168.3.4":   "<subnet> 172.33.0.1 <ip>",
		"02:42:ac:11:00:02 02:42:ac:11:00:03":    "02:42:ac:11:00:02 <mac>",
		"network x has active endpoints (a, b)":  "network x has active endpoints (<endpoints>)",
		"1: digest: sha256:x size: 527":          "1: digest: sha256:x size: <size>",
		"range of CPUs is from 0.01 to 2.00, so": "range of CPUs is from 0.01 to <host fact>",
		"requested 7,9, available: 0-1":          "requested 7,9, available: 0-1",
		"failed to create shim task: x":          "failed to create shim task: x",
		"OCI runtime exec failed: exec failed: unable to start container process: exec: \"x\": no": "<runtime> exec: \"x\": no",
		"ref " + strings.Repeat("a1", 12) + "x::" + strings.Repeat("b2", 12) + "y":                 "ref <ref>",
	} {
		if got := n.text(in); got != want {
			t.Errorf("%s\nbecame %s\nnot    %s", in, got, want)
		}
	}
}

// TestObjects holds the rules for members by their names.
func TestObjects(t *testing.T) {
	n := &normaliser{play: &play{file: &File{asked: `{"HostPort":"40001"}`}}, step: &Step{}}
	for in, want := range map[string]string{
		`{"Driver":"overlay2","HostConfig":{}}`:                         `{"Driver":"<driver>","HostConfig":{}}`,
		`{"Driver":"local"}`:                                            `{"Driver":"local"}`,
		`{"GraphDriver":{"Name":"x"}}`:                                  `{"GraphDriver":"<storage>"}`,
		`{"IPAddress":"10.0.0.1","IPPrefixLen":24}`:                     `{"IPAddress":"<ip>","IPPrefixLen":"<len>"}`,
		`{"IPAddress":"","IPPrefixLen":0}`:                              `{"IPAddress":"","IPPrefixLen":0}`,
		`{"CgroupnsMode":"host","AppArmorProfile":""}`:                  `{"AppArmorProfile":"","CgroupnsMode":"<host fact>"}`,
		`{"MaskedPaths":["/a","/sys/cpu/cpu3/x"]}`:                      `{"MaskedPaths":["/a"]}`,
		`{"Mounts":[{"Destination":"/b"},{"Destination":"/a"}]}`:        `{"Mounts":[{"Destination":"/a"},{"Destination":"/b"}]}`,
		`{"VolumesDeleted":["b","a"],"Volumes":null}`:                   `{"Volumes":null,"VolumesDeleted":["a","b"]}`,
		`{"Ports":[{"PublicPort":40000},{"PublicPort":40001}]}`:         `{"Ports":[{"PublicPort":"<port>"},{"PublicPort":40001}]}`,
		`{"HostPort":"40001","x":{"HostPort":"40002"}}`:                 `{"HostPort":"40001","x":{"HostPort":"<port>"}}`,
		`{"Size":0,"SizeRw":12,"Created":1600000000,"time":1800000000}`: `{"Created":1600000000,"Size":0,"SizeRw":"<sizerw>","time":"<time>"}`,
		`{"LogPath":"","HostsPath":"/x"}`:                               `{"HostsPath":"<path>","LogPath":""}`,
		`{"Status":"Exited (0) Less than a second ago"}`:                `{"Status":"Exited (0) <age> ago"}`,
		`{"Status":"Up 2 hours (healthy)"}`:                             `{"Status":"Up <age> (healthy)"}`,
		`{"execDuration":"3"}`:                                          `{"execDuration":"<age>"}`,
	} {
		if got := plain(n.body(answer{raw: []byte(in)})); got != want {
			t.Errorf("%s\nbecame %s\nnot    %s", in, got, want)
		}
	}
}

// plain is Canonical with the angle brackets as they are.
func plain(v any) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(tree.Canonical(v))
}

func TestStreams(t *testing.T) {
	const kind = "application/vnd.docker.raw-stream"
	for in, want := range map[string]string{
		"":           `""`,
		"a terminal": `[{"stream":"tty","text":"a terminal"}]`,
		"\x02\x00\x00\x00\x00\x00\x00\x01e\x01\x00\x00\x00\x00\x00\x00\x01o": `[{"stream":"stdout","text":"o"},{"stream":"stderr","text":"e"}]`,
		"\x01\x00\x00\x00\x00\x00\x00\x09o":                                  `[{"stream":"tty","text":"\u0001\u0000\u0000\u0000\u0000\u0000\u0000\to"}]`,
	} {
		if got := tree.Canonical(toValue([]byte(in), kind)); got != want {
			t.Errorf("%q became %s, not %s", in, got, want)
		}
	}
}

// TestFixture makes the image and reads it.
func TestFixture(t *testing.T) {
	raw, err := fixture()
	if err != nil {
		t.Skip("needs a static busybox: ", err)
	}
	m, err := members(raw)
	if err != nil {
		t.Fatal(err)
	}
	names := tree.SortedKeys(m.(map[string]any))
	if !slices.Equal(names, []string{"config.json", "layer.tar", "manifest.json"}) {
		t.Errorf("the archive has %v", names)
	}
	again, err := fixture()
	if err != nil || !bytes.Equal(raw, again) {
		t.Errorf("made again it is another: %v", err)
	}
}
