package legacy

import (
	"testing"

	"go.yaml.in/yaml/v4"

	"skiff.dev/skiff/cli/compose/composetest"
)

// TestConvert plays testdata/*.txtar: "in" is a file of version 1, "want" what it
// becomes or the error.
func TestConvert(t *testing.T) {
	composetest.Play(t, func(t *testing.T, s *composetest.Script) {
		got, err := Convert(s.Files[0].Data)
		if err != nil {
			got = []byte("error: " + err.Error() + "\n")
		}
		s.GotNamed("want", string(got))
	})
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte("web:\n  image: a\n  links: \"db:x\"\ndb:\n  build: .\n  dockerfile: D\n  volumes: [a:/b]\n"))
	f.Add([]byte("a: &x\n  image: a\n  links: [*x]\nb:\n  <<: *x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Convert(text)
		if err != nil || !Is(text) {
			return
		}
		var any map[string]any
		if err := yaml.Unmarshal(text, &any); err != nil {
			return // anchors without an end, keys of odd types: the reader's to refuse
		}
		if Is(got) {
			t.Errorf("%q is still of version 1:\n%s", text, got)
		}
	})
}
