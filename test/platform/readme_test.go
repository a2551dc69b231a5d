package platform

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme runs the commands of the README's shell blocks in their order,
// against instances in directories of their own.
func TestReadme(t *testing.T) {
	needRoot(t)
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	images, err := imageArchive()
	if err != nil {
		t.Fatal(err)
	}
	second := t.TempDir()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	replace := strings.NewReplacer(
		"bin/skiff", filepath.Join(c.binDir, "skiff"),
		"skiff up --detach\n", "skiff up --detach "+strings.Join(c.flags, " ")+"\n",
		"app.tar", images,
		"/srv/two", filepath.Join(second, "data"), "/run/two", filepath.Join(second, "run"),
		"7443", fmt.Sprint(port),
	)
	t.Cleanup(func() {
		if _, err := c.skiff("reset", "--yes"); err != nil {
			t.Error(err)
		}
		if _, err := c.skiff("reset", "--yes", "--data-dir", filepath.Join(second, "data"), "--run-dir", filepath.Join(second, "run")); err != nil {
			t.Error(err)
		}
	})
	ran := 0
	for _, line := range shellLines(string(raw)) {
		command := replace.Replace(line + "\n")
		cmd := exec.Command("sh", "-ec", command)
		cmd.Env = append(os.Environ(), "KUBECONFIG=")
		for k, v := range c.env() {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		cmd.Stdin = strings.NewReader("y\n") // reset asks
		out, err := cmd.CombinedOutput()
		ran++
		if strings.Contains(line, "HOST/NAME") {
			// A placeholder is no image; what matters is that it is said.
			if err == nil || !strings.Contains(string(out), "invalid") {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands in the README", ran)
	}
}

// shellLines are the commands of ```sh blocks without their comments.
func shellLines(text string) []string {
	var out []string
	inside := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "```") {
			inside = line == "```sh"
			continue
		}
		command, _, _ := strings.Cut(line, " #")
		if command = strings.TrimSpace(command); inside && command != "" {
			out = append(out, command)
		}
	}
	return out
}
