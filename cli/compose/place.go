package compose

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// inModel finds the place that a message speaks of, as services.web.ports.0, and
// the key that is not allowed there.
var (
	inModel  = regexp.MustCompile(`\b((?:services|networks|volumes|configs|secrets|include)(?:\.[\w.\[\]-]+)?)`)
	notThere = regexp.MustCompile(`additional properties? '([^']+)'`)
	unknown  = regexp.MustCompile(`([\w.\[\]-]+)\.([\w-]+) false schema`)
)

// withPlace puts the file and line of what err speaks of in front of it, where
// they can be found.
func withPlace(files []types.ConfigFile, err error) error {
	text := err.Error()
	at := inModel.FindString(text)
	if at == "" || strings.Contains(text, ": line ") {
		return err
	}
	path := strings.FieldsFunc(strings.Trim(at, "."), func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	if key := notThere.FindStringSubmatch(text); key != nil {
		path = append(path, key[1])
	}
	for i := len(files) - 1; i >= 0; i-- {
		// Files of version 1 were converted: the lines of the original count.
		raw, readErr := os.ReadFile(files[i].Filename)
		if readErr != nil {
			raw = files[i].Content
		}
		var doc yaml.Node
		if yaml.Unmarshal(raw, &doc) != nil || len(doc.Content) == 0 {
			continue
		}
		if line, whole := lineOf(doc.Content[0], path); whole || len(files) == 1 && line > 0 {
			text = strings.TrimPrefix(text, "validating "+files[i].Filename+": ")
			text = unknown.ReplaceAllString(text, "$1 additional properties '$2' not allowed")
			return &placed{fmt.Sprintf("%s:%d: %s", files[i].Filename, line, text), err}
		}
	}
	return err
}

// placed is an error in other words, with its place.
type placed struct {
	text  string
	cause error
}

func (p *placed) Error() string { return p.text }
func (p *placed) Unwrap() error { return p.cause }

// lineOf follows path as far as the document goes: the line of the last key that
// exists, and whether that was the whole path.
func lineOf(n *yaml.Node, path []string) (line int, whole bool) {
	for i, key := range path {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for j := 0; j+1 < len(n.Content); j += 2 {
				if n.Content[j].Value == key {
					next, line = n.Content[j+1], n.Content[j].Line
				}
			}
		case yaml.SequenceNode:
			if at, err := strconv.Atoi(key); err == nil && at >= 0 && at < len(n.Content) {
				next, line = n.Content[at], n.Content[at].Line
			}
		}
		if next == nil {
			if i == 0 && key == "services" { // version 1 has them at the top
				continue
			}
			return line, false
		}
		n = next
	}
	return line, true
}
