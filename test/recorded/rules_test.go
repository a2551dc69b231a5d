package recorded_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
)

// The files in testdata/rules hold what a Kubernetes 1.36 API server finds wrong
// with objects, a file a group of kinds: lines
//
//	seed OBJECT
//	OP KIND/NAME PATH = VALUE
//		REASON|FIELD: MESSAGE
//
// say that the seed with VALUE at PATH (<del>: without it), sent as a dry run to be
// created (create) or to replace the stored seed (update) or its status (status, and
// status2 once the seed's own status is stored), is refused for these causes, in
// this order. Segments of a path are separated by / and may hold ~1 for it.

// rulesFile is one file as the lines come.
type rulesFile struct {
	seeds map[string]map[string]any // by KIND/NAME
	cases []ruleCase
}

type ruleCase struct {
	op, seed, path, value string
	want                  []string
}

func readRules(t *testing.T, path string) rulesFile {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := rulesFile{seeds: map[string]map[string]any{}}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "seed "):
			var o map[string]any
			if err := json.Unmarshal([]byte(line[len("seed "):]), &o); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			meta, _ := o["metadata"].(map[string]any)
			f.seeds[seedName(o["kind"], meta["name"])] = o
		case strings.HasPrefix(line, "\t"):
			c := &f.cases[len(f.cases)-1]
			c.want = append(c.want, line[1:])
		default:
			parts := strings.SplitN(line, " ", 5)
			if len(parts) != 5 || parts[3] != "=" {
				t.Fatalf("%s: no case: %s", filepath.Base(path), line)
			}
			f.cases = append(f.cases, ruleCase{op: parts[0], seed: parts[1], path: parts[2], value: parts[4]})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return f
}

func seedName(kind, name any) string {
	if name == nil {
		return fmt.Sprint(kind)
	}
	return fmt.Sprintf("%v/%v", kind, name)
}

// changed is a copy of the seed with the case's value at its path.
func (c *ruleCase) changed(seed map[string]any) (any, error) {
	raw, err := json.Marshal(seed)
	if err != nil {
		return nil, err
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, err
	}
	var value any
	if c.value != "<del>" {
		if err := json.Unmarshal([]byte(c.value), &value); err != nil {
			return nil, err
		}
	}
	at := out
	segments := strings.Split(c.path, "/")[1:]
	for i, s := range segments {
		s, last := strings.ReplaceAll(s, "~1", "/"), i == len(segments)-1
		switch v := at.(type) {
		case map[string]any:
			if !last {
				at = v[s]
			} else if v[s] = value; c.value == "<del>" {
				delete(v, s)
			}
		case []any:
			n, err := strconv.Atoi(s)
			if err != nil || n >= len(v) {
				return nil, fmt.Errorf("%s: no item %s", c.path, s)
			}
			if !last {
				at = v[n]
			} else {
				v[n] = value
			}
		default:
			return nil, fmt.Errorf("%s: nothing at %s", c.path, s)
		}
	}
	return out, nil
}

// ruler sends objects to a server.
type ruler struct {
	t     *testing.T
	url   string
	table *kinds.Table
}

func (r *ruler) send(method, path string, body any) (int, []byte) {
	r.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequest(method, r.url+path, bytes.NewReader(raw))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, answer
}

// collection is the path to which a seed is posted.
func (r *ruler) collection(seed map[string]any) string {
	gv, err := schema.ParseGroupVersion(seed["apiVersion"].(string))
	if err != nil {
		r.t.Fatal(err)
	}
	k, ok := r.table.ByGVK(gv.WithKind(seed["kind"].(string)))
	if !ok {
		r.t.Fatalf("no kind %v", seed["kind"])
	}
	path := "/apis/" + gv.String()
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	if k.Namespaced {
		path += "/namespaces/ns"
	}
	return path + "/" + k.Resource
}

// causes are the reasons of a refusal as the files write them.
func causes(raw []byte) []string {
	var status struct {
		Details struct {
			Causes []struct{ Reason, Field, Message string }
		}
	}
	if json.Unmarshal(raw, &status) != nil {
		return []string{string(raw)}
	}
	var out []string
	for _, c := range status.Details.Causes {
		out = append(out, c.Reason+"|"+c.Field+": "+c.Message)
	}
	return out
}

// TestRules sends every object of the files and compares what is wrong with it.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/rules/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	h := newServer(t)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			f := readRules(t, path)
			r := &ruler{t, h.URL, all.Table()}
			for _, ns := range []string{"ns", "other"} {
				r.send(http.MethodPost, "/api/v1/namespaces", map[string]any{"metadata": map[string]any{"name": ns}})
				r.send(http.MethodPost, "/api/v1/namespaces/"+ns+"/serviceaccounts", map[string]any{"metadata": map[string]any{"name": "default"}})
			}
			stored, withStatus := "", false
			for i := range f.cases {
				c := &f.cases[i]
				seed := f.seeds[c.seed]
				if seed == nil {
					t.Fatalf("no seed %s", c.seed)
				}
				base := r.collection(seed)
				_, name, _ := strings.Cut(c.seed, "/")
				if c.op != "create" && stored != c.seed {
					if code, answer := r.send(http.MethodPost, base, seed); code != http.StatusCreated {
						t.Fatalf("%s is not stored: %s", c.seed, answer)
					}
					stored, withStatus = c.seed, false
				}
				if c.op == "status2" && !withStatus {
					r.send(http.MethodPut, base+"/"+name+"/status", seed)
					withStatus = true
				}
				obj, err := c.changed(seed)
				if err != nil {
					t.Fatal(err)
				}
				var code int
				var answer []byte
				switch c.op {
				case "create":
					code, answer = r.send(http.MethodPost, base+"?dryRun=All", obj)
				case "update":
					code, answer = r.send(http.MethodPut, base+"/"+name+"?dryRun=All", obj)
				case "status", "status2":
					code, answer = r.send(http.MethodPut, base+"/"+name+"/status?dryRun=All", obj)
				default:
					t.Fatalf("no operation %s", c.op)
				}
				if have := causes(answer); code != http.StatusUnprocessableEntity || strings.Join(have, "\n") != strings.Join(c.want, "\n") {
					t.Errorf("%s %s %s = %s\ngot  %d %s\nwant %s", c.op, c.seed, c.path, c.value, code, strings.Join(have, "\n     "), strings.Join(c.want, "\n     "))
				}
				if i+1 == len(f.cases) || f.cases[i+1].seed != c.seed {
					if stored != "" {
						r.send(http.MethodDelete, base+"/"+name+"?gracePeriodSeconds=0&propagationPolicy=Background", map[string]any{})
					}
					stored = ""
				}
			}
			t.Logf("%d cases", len(f.cases))
		})
	}
}
