package docker

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
)

func newTestTree(t *testing.T, name string, out *bytes.Buffer) *tree {
	t.Helper()
	dcli, err := command.NewDockerCli(command.WithCombinedStreams(out))
	if err != nil {
		t.Fatal(err)
	}
	return newTree(dcli, name)
}

// TestTree: Docker's library still gives its commands, and every verb of skiff's is
// one of them, with docker's words.
func TestTree(t *testing.T) {
	tr := newTestTree(t, "skiff", new(bytes.Buffer))
	for _, v := range Verbs {
		words := []string{v.Name}
		if v.As != nil {
			words = v.As
		}
		cmd, rest, err := tr.root.Find(words)
		switch {
		case err != nil || len(rest) > 0 || cmd == tr.root:
			t.Errorf("no command for %s: %v", v.Name, err)
		case v.As == nil && cmd.Short != v.Short:
			t.Errorf("%s: docker says %q, skiff %q", v.Name, cmd.Short, v.Short)
		case v.As == nil && cmd.Example != v.Example:
			t.Errorf("%s has no example in its help", v.Name)
		}
	}
	image, _, _ := tr.root.Find([]string{"image"})
	for _, v := range ImageVerbs {
		if cmd, _, err := image.Find([]string{v}); err != nil || cmd == image {
			t.Errorf("no command for image %s: %v", v, err)
		}
	}
	for _, words := range []string{
		"builder prune", "config ls", "container run", "context ls", "image ls", "manifest inspect", "network connect",
		"node ls", "plugin ls", "secret ls", "service ls", "stack deploy", "swarm init", "system df", "volume prune",
	} {
		if cmd, rest, err := tr.root.Find(strings.Fields(words)); err != nil || len(rest) > 0 || cmd == tr.root {
			t.Errorf("no command for %s: %v", words, err)
		}
	}
	seen := map[string]bool{}
	for _, c := range tr.root.Commands() {
		if seen[c.Name()] {
			t.Errorf("%s is there twice", c.Name())
		}
		seen[c.Name()] = true
	}
}

// TestFlagsFree: the flags that choose an instance are no docker command's.
func TestFlagsFree(t *testing.T) {
	tr := newTestTree(t, "skiff", new(bytes.Buffer))
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, name := range []string{"data-dir", "run-dir"} {
			if c.Flags().Lookup(name) != nil {
				t.Errorf("%s has a flag --%s", c.CommandPath(), name)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(tr.root)
}

func TestHelp(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
		not  []string
	}{
		{"skiff", []string{"run", "--help"}, []string{"Usage:  skiff run [OPTIONS] IMAGE", "skiff run --rm -it busybox sh", "--publish"}, []string{"--data-dir", "--cpu-count"}},
		{"docker", []string{"run", "--help"}, []string{"Usage:  docker run [OPTIONS] IMAGE", "docker run --rm -it busybox sh"}, []string{"skiff"}},
		{"skiff docker", []string{"ps", "--help"}, []string{"Usage:  skiff docker ps"}, nil},
		{"docker", []string{"network", "--help"}, []string{"docker network COMMAND", "connect"}, nil},
	} {
		var out bytes.Buffer
		tr := newTestTree(t, test.name, &out)
		tr.root.SetArgs(test.args)
		if err := tr.root.Execute(); err != nil {
			t.Errorf("%s %s: %v", test.name, test.args, err)
		}
		for _, w := range test.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s %s: no %q in\n%s", test.name, test.args, w, &out)
			}
		}
		for _, w := range test.not {
			if strings.Contains(out.String(), w) {
				t.Errorf("%s %s: %q in\n%s", test.name, test.args, w, &out)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(mod, []byte("\tgithub.com/docker/cli v"+libraryVersion+"+incompatible\n")) {
		t.Errorf("go.mod does not require docker/cli %s", libraryVersion)
	}
}
