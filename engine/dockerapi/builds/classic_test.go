package builds_test

import (
	"net/http"
	"strings"
	"testing"

	"skiff.dev/skiff/engine/enginetest"
)

// TestClassicWords holds what the classic builder says of single instructions.
func TestClassicWords(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name, query, dockerfile string
		says, not               []string
		fails                   string
	}{
		{name: "labels of the command line are steps", query: "&labels=%7B%22b%22%3A%221%22%2C%22a%22%3A%222%22%7D", dockerfile: "FROM BASE\n",
			says: []string{"Step 1/3 : FROM BASE\n", "Step 2/3 : LABEL a=2\n", "Step 3/3 : LABEL b=1\n", "Successfully built "}},
		{name: "shell in the words of a failure", dockerfile: "FROM BASE AS a\nSHELL [\"/bin/sh\", \"-ec\"]\nFROM a\nRUN exit 5\n",
			fails: "The command '/bin/sh -ec exit 5' returned a non-zero code: 5"},
		{name: "a stage's name twice", dockerfile: "FROM BASE AS a\nRUN true\nFROM BASE AS A\n", not: []string{"Step 3/3"}, fails: "a stage name already used"},
		{name: "no such stage", dockerfile: "FROM BASE\nCOPY --from=3 /a /b\n", says: []string{"Step 2/2 : COPY --from=3 /a /b\n"}, fails: "invalid from flag value 3: index out of bounds"},
		{name: "its own stage", dockerfile: "FROM BASE\nCOPY --from=0 /a /b\n", fails: "invalid from flag value 0: refers to current build stage"},
		{name: "link is taken", dockerfile: "FROM BASE\nCOPY --link Dockerfile /d\n", says: []string{"Successfully built "}},
		{name: "mounts need BuildKit", dockerfile: "FROM BASE\nRUN --mount=type=cache,target=/c true\n", fails: "the --mount option requires BuildKit."},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := strings.ReplaceAll(c.dockerfile, "BASE", busybox)
			status, messages := r.classic("nocache=1"+c.query, enginetest.File{Name: "Dockerfile", Mode: 0o644, Body: body})
			if status != http.StatusOK {
				t.Fatalf("status %d: %v", status, messages)
			}
			var text, failed string
			for _, m := range messages {
				s, _ := m["stream"].(string)
				e, _ := m["error"].(string)
				text, failed = text+s, failed+e
			}
			for _, want := range c.says {
				if want = strings.ReplaceAll(want, "BASE", busybox); !strings.Contains(text, want) {
					t.Errorf("no %q in %q", want, text)
				}
			}
			for _, not := range c.not {
				if strings.Contains(text, not) {
					t.Errorf("%q in %q", not, text)
				}
			}
			if c.fails == "" && failed != "" || !strings.Contains(failed, c.fails) {
				t.Errorf("error %q, want %q", failed, c.fails)
			}
		})
	}
}
