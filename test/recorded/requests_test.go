package recorded_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The files in testdata/requests hold what a Kubernetes 1.36 API server answered to
// requests, one after the other on one server, in blocks:
//
//	METHOD PATH
//	Header: value
//	BODY
//	= CODE TEXT
//	+ Header: value
//
// TEXT is "REASON: MESSAGE" of a Status, the kind of any other object, and else the
// quoted body. Lines with + are headers that the answer has. NAME=PATH lines, with
// PATH separated by slashes, are values in the answer.

type requestCase struct {
	line         int
	method, path string
	headers      [][2]string
	body         string
	want         string
	wantHeaders  [][2]string
	wantValues   [][2]string
}

func readRequests(t *testing.T, path string) []*requestCase {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []*requestCase
	var c *requestCase
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "" || line[0] == '#':
			c = nil
		case c == nil:
			method, path, ok := strings.Cut(line, " ")
			if !ok {
				t.Fatalf("%d: no request: %s", n, line)
			}
			c = &requestCase{line: n, method: method, path: path}
			out = append(out, c)
		case strings.HasPrefix(line, "= "):
			c.want = line[2:]
		case strings.HasPrefix(line, "+ "):
			name, value, _ := strings.Cut(line[2:], ": ")
			c.wantHeaders = append(c.wantHeaders, [2]string{name, value})
		case strings.HasPrefix(line, "/"):
			path, value, _ := strings.Cut(line[1:], "=")
			c.wantValues = append(c.wantValues, [2]string{path, value})
		case strings.ContainsAny(line[:1], "{["):
			c.body = line
		default:
			name, value, ok := strings.Cut(line, ": ")
			if !ok {
				t.Fatalf("%d: no header: %s", n, line)
			}
			c.headers = append(c.headers, [2]string{name, value})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

var uids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// summary is an answer as the files tell it; uids are <uid>.
func summary(code int, body []byte) string {
	var o struct{ Kind, Reason, Message string }
	body = uids.ReplaceAll(body, []byte("<uid>"))
	switch err := json.Unmarshal(body, &o); {
	case err != nil || o.Kind == "":
		return fmt.Sprintf("%d %q", code, body)
	case o.Kind == "Status":
		return fmt.Sprintf("%d %s: %s", code, o.Reason, strings.ReplaceAll(o.Message, "\n", `\n`))
	}
	return fmt.Sprintf("%d %s", code, o.Kind)
}

func (c *requestCase) check(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequest(c.method, url+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range c.headers {
		req.Header.Set(h[0], h[1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := summary(res.StatusCode, body); got != c.want {
		t.Errorf("line %d: %s %s\n got %s\nwant %s", c.line, c.method, c.path, got, c.want)
	}
	for _, h := range c.wantHeaders {
		if got := strings.Join(res.Header.Values(h[0]), ", "); got != h[1] {
			t.Errorf("line %d: %s %s: header %s is %q, want %q", c.line, c.method, c.path, h[0], got, h[1])
		}
	}
	var o any
	if len(c.wantValues) > 0 && json.Unmarshal(body, &o) != nil {
		t.Errorf("line %d: no JSON: %s", c.line, body)
	}
	for _, v := range c.wantValues {
		got, err := json.Marshal(at(o, strings.Split(v[0], "/")))
		if err != nil || string(got) != v[1] {
			t.Errorf("line %d: %s %s: %s is %s, want %s (%v)", c.line, c.method, c.path, v[0], got, v[1], err)
		}
	}
}

// at is the value at a path, nil where there is none.
func at(o any, path []string) any {
	for _, p := range path {
		switch v := o.(type) {
		case map[string]any:
			o = v[strings.ReplaceAll(p, "~1", "/")]
		case []any:
			var n int
			if _, err := fmt.Sscan(p, &n); err != nil || n >= len(v) {
				return nil
			}
			o = v[n]
		default:
			return nil
		}
	}
	return o
}

func TestRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/requests/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			url := newServer(t).URL
			for _, c := range readRequests(t, f) {
				c.check(t, url)
			}
		})
	}
}
