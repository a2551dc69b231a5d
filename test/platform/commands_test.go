package platform

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// laterCommands are the headings of COMMANDS.md whose lines need what is not built
// yet, with what that is.
var laterCommands = map[string]string{
	"## cluster": "names of other programs for skiff's own verbs; joining machines",
	"## helm":    "releases",
}

// laterLines are lines of COMMANDS.md that no script plays yet, with what they need.
var laterLines = map[string]string{
	"docker pull|push IMAGE    docker tag SRC DST    docker login [SERVER]     docker search TERM":                                         "a registry in the script",
	"docker network create NAME --subnet 10.1.0.0/16    docker network create --subnet S --gateway G -d overlay NAME    docker network ls": "a script of their own",
	"docker-compose up    docker-compose down    docker stack ...(answers as not in a swarm)":                                              "compose",
}

// TestCourseCommands plays the kubectl and docker lines that courses show, as they stand, on
// an instance of its own, and holds the script against the list of them: each line
// of the list is in the script, or under a heading that is for later, by name.
func TestCourseCommands(t *testing.T) {
	needRoot(t)
	t.Run("list", func(t *testing.T) {
		list := sharedFile(t, "COMMANDS.md")
		scripts, err := filepath.Glob("testdata/courses/*.txtar")
		if err != nil || len(scripts) == 0 {
			t.Fatal("no scripts", err)
		}
		var played []string
		for _, path := range scripts {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(script)) {
				if l, ok := strings.CutPrefix(line, "#: "); ok {
					played = append(played, strings.TrimSpace(l))
				}
			}
		}
		heading, code := "", false
		for line := range strings.Lines(list) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "## "):
				heading = line
			case strings.HasPrefix(line, "```"):
				code = !code
			case !code || line == "":
			case laterCommands[heading] != "", laterLines[line] != "":
			case slices.Contains(played, line):
				played = slices.DeleteFunc(played, func(p string) bool { return p == line })
			default:
				t.Errorf("under %q, not played: %s", heading, line)
			}
		}
		for _, p := range played {
			t.Errorf("played, but in no list: %s", p)
		}
	})
	runScripts(t, own(t), scripts(t, "testdata/courses")...)
}
