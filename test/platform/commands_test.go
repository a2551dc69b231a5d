package platform

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// laterCommands are the headings of COMMANDS.md whose lines need what is not built
// yet, with what that is.
var laterCommands = map[string]string{
	"## docker (the ordinary client on Skiff's socket, and skiff's own verbs)": "the Docker API and image builds",
	"## cluster": "names of other programs for skiff's own verbs; joining machines",
	"## helm":    "releases",
}

// TestCourseCommands plays the kubectl lines that courses show, as they stand, on
// an instance of its own, and holds the script against the list of them: each line
// of the list is in the script, or under a heading that is for later, by name.
func TestCourseCommands(t *testing.T) {
	needRoot(t)
	t.Run("list", func(t *testing.T) {
		list := sharedFile(t, "COMMANDS.md")
		script, err := os.ReadFile("testdata/courses/commands.txtar")
		if err != nil {
			t.Fatal(err)
		}
		var played []string
		for line := range strings.Lines(string(script)) {
			if l, ok := strings.CutPrefix(line, "#: "); ok {
				played = append(played, strings.TrimSpace(l))
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
			case laterCommands[heading] != "":
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
	runScripts(t, "testdata/courses", own(t))
}
