package monitor

import (
	"os/exec"
	"strings"
	"testing"
)

// TestSmall: the monitor stays a program of the standard library, x/sys and a
// handful of our own packages, whatever is added to skiff: it is resident on every
// node, and nothing that starts in it may pay for skiff's initialisation.
func TestSmall(t *testing.T) {
	allowed := map[string]bool{
		"golang.org/x/sys/unix":                            true,
		"skiff.dev/skiff/engine/logs":                      true,
		"skiff.dev/skiff/engine/wholefile":                 true,
		"skiff.dev/skiff/engine/monitor/wire":              true,
		"skiff.dev/skiff/engine/monitor/server":            true,
		"skiff.dev/skiff/engine/monitor/cmd/skiff-monitor": true,
		"skiff.dev/skiff/kernel/mount":                     true,
	}
	out, err := exec.Command("go", "list", "-deps", "skiff.dev/skiff/engine/monitor/cmd/skiff-monitor").Output()
	if err != nil {
		t.Fatal(err)
	}
	for p := range strings.FieldsSeq(string(out)) {
		first, _, _ := strings.Cut(p, "/")
		if strings.Contains(first, ".") && !allowed[p] {
			t.Errorf("the monitor imports %s", p)
		}
		if p == "net/http" || p == "os/exec" {
			t.Errorf("the monitor imports %s, which is large or waits for processes itself", p)
		}
	}
}
