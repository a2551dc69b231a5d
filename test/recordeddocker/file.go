package recordeddocker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"skiff.dev/skiff/test/recorded/tree"
)

// File is a sequence of steps.
type File struct {
	Name     string `json:"name"`
	Area     string `json:"area"`
	About    string `json:"about"`
	Registry bool   `json:"registry"`
	Steps    []Step `json:"steps"`

	// asked is the text of all paths, bodies and archives before substitution: what
	// is found in it is no accident of the engine and stays.
	asked string
}

// Step is one request and what was answered, or the wait for the answer of an
// asynchronous one.
type Step struct {
	About   string            `json:"about"`
	Method  string            `json:"method"` // SLEEP waits as long as Path says
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    any               `json:"body"`
	HasBody bool              `json:"-"`
	RawBody *string           `json:"rawBody"`
	Tar     []Entry           `json:"tar"`
	HasTar  bool              `json:"-"`
	Fixture string            `json:"fixture"`
	Stdin   *string           `json:"stdin"`
	Async   string            `json:"async"`
	Await   string            `json:"await"`
	Capture map[string]string `json:"capture"`
	Ignore  bool              `json:"ignore"`
	Until   *Until            `json:"until"`
	Mask    []string          `json:"mask"`
	Keep    []string          `json:"keep"`
	Keys    []string          `json:"keys"`
	Sort    bool              `json:"sort"`

	Status          int            `json:"status"`
	ResponseHeaders map[string]any `json:"responseHeaders"`
	// Response is nil where the recording has none: the body was empty, or JSON's null.
	Response any `json:"response"`
}

// Until says when a step is repeated no longer.
type Until struct {
	Status int            `json:"status"`
	Match  map[string]any `json:"match"`
}

// Read reads a file; numbers keep their text.
func Read(path string) (*File, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{}
	if err := tree.Decode(raw, f); err != nil {
		return nil, fmt.Errorf("recordeddocker: %s: %w", filepath.Base(path), err)
	}
	var members struct {
		Steps []map[string]json.RawMessage `json:"steps"`
	}
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("recordeddocker: %s: %w", filepath.Base(path), err)
	}
	var asked strings.Builder
	for i := range f.Steps {
		s := &f.Steps[i]
		_, s.HasBody = members.Steps[i]["body"]
		_, s.HasTar = members.Steps[i]["tar"]
		asked.WriteString(s.Path + "\n")
		if s.HasBody {
			asked.WriteString(tree.Canonical(s.Body) + "\n")
		}
		if s.RawBody != nil {
			asked.WriteString(*s.RawBody + "\n")
		}
		entryText(&asked, s.Tar)
	}
	f.asked = asked.String()
	return f, nil
}

func entryText(b *strings.Builder, entries []Entry) {
	for i := range entries {
		b.WriteString(entries[i].Name + "\n" + entries[i].Content + "\n")
		entryText(b, entries[i].Tar)
	}
}
