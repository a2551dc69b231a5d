package recorded

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"skiff.dev/skiff/test/recorded/tree"
)

// File is a sequence of steps.
type File struct {
	Name      string `json:"name"`
	Area      string `json:"area"`
	About     string `json:"about"`
	Namespace string `json:"namespace"`
	Steps     []Step `json:"steps"`
}

// Step is one request and what was answered.
type Step struct {
	About    string            `json:"about"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Headers  map[string]any    `json:"headers"`
	Body     any               `json:"body"`
	HasBody  bool              `json:"-"`
	RawBody  *string           `json:"rawBody"`
	Capture  map[string]string `json:"capture"`
	Ignore   bool              `json:"ignore"`
	Until    *Until            `json:"until"`
	Mask     []string          `json:"mask"`
	Keep     []string          `json:"keep"`
	Keys     []string          `json:"keys"`
	Status   int               `json:"status"`
	Response any               `json:"response"`
	// ResponseHeaders holds a string, or a list of strings, by name.
	ResponseHeaders map[string]any `json:"responseHeaders"`
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
		return nil, fmt.Errorf("recorded: %s: %w", filepath.Base(path), err)
	}
	var members struct {
		Steps []map[string]json.RawMessage `json:"steps"`
	}
	if err := tree.Decode(raw, &members); err != nil {
		return nil, err
	}
	for i := range f.Steps {
		_, f.Steps[i].HasBody = members.Steps[i]["body"]
	}
	return f, nil
}
