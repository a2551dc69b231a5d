package kube

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"skiff.dev/skiff/cli/compose/composetest"
)

// TestManifests plays testdata/*.txtar: compose.yaml in, manifests and notes out.
func TestManifests(t *testing.T) {
	composetest.Play(t, func(t *testing.T, s *composetest.Script) {
		p := composetest.Project(t, s.Files[0].Data, types.Mapping{"TOKEN": "t0k"})
		text, notes, err := Manifests(p, Options{Separator: "-", Volumes: Directories, Dir: "/var/lib/compose"})
		if err != nil {
			t.Fatal(err)
		}
		s.GotNamed("manifests", string(text))
		s.GotNamed("notes", strings.Join(append(notes, ""), "\n"))
	})
}

// TestVolumes: named volumes become claims alone or go with their pods where that is
// asked for.
func TestVolumes(t *testing.T) {
	p := composetest.Project(t, []byte("services: {db: {image: db, volumes: ['data:/data']}}\nvolumes: {data: {}}\n"), nil)
	for _, c := range []struct {
		volumes     Volumes
		has, hasNot string
	}{
		{Claims, "kind: PersistentVolumeClaim\n", "volumeName"},
		{Scratch, "emptyDir: {}\n", "PersistentVolume"},
	} {
		text, _, err := Manifests(p, Options{Separator: "-", Volumes: c.volumes})
		if err != nil || !strings.Contains(string(text), c.has) || strings.Contains(string(text), c.hasNot) {
			t.Errorf("%s: %v\n%s", c.volumes, err, text)
		}
	}
	if _, _, err := Manifests(p, Options{Volumes: "none"}); err == nil {
		t.Error("volumes of no known kind are taken")
	}
}
