package cli

import (
	"strings"
	"testing"
)

// TestDockerVerbs: skiff has the everyday verbs of docker's client, and each tells
// in its help how it is used.
func TestDockerVerbs(t *testing.T) {
	root := Root(new(Dirs))
	there := map[string]bool{}
	for _, c := range root.Commands() {
		if there[c.Name()] {
			t.Errorf("two commands are named %s", c.Name())
		}
		there[c.Name()] = true
		if c.Name() != "help" && (c.Short == "" || c.Example == "" || c.GroupID == "") {
			t.Errorf("%s: short %q, example %q, group %q", c.Name(), c.Short, c.Example, c.GroupID)
		}
	}
	for _, want := range strings.Fields(`build run exec ps images logs stop kill rm rmi pull push tag login logout save load
		import export commit cp diff history inspect port rename restart pause unpause stats top update wait attach
		events info version system prune network volume container search start create docker`) {
		if !there[want] {
			t.Errorf("no verb %s", want)
		}
	}
}

// TestEmbedded: which words of a command line are for a command line inside skiff.
func TestEmbedded(t *testing.T) {
	for _, args := range []string{
		"skiff", "skiff up", "skiff status", "skiff image", "skiff image ls", "skiff image load x.tar", "skiff image pull a",
		"skiff image rm a", "skiff --data-dir", "skiff --help", "skiff help run", "skiff --data-dir /d up",
	} {
		if _, ok := runEmbedded(t.Context(), new(Dirs), strings.Fields(args)); ok {
			t.Errorf("%s was taken", args)
		}
	}
	for _, args := range []string{
		"skiff run --help", "skiff --run-dir /r ps --help", "skiff --run-dir=/r image history --help", "docker ps --help",
		"/usr/bin/docker images --help", "skiff docker image ls --help", "skiff prune --help",
	} {
		if code, ok := runEmbedded(t.Context(), new(Dirs), strings.Fields(args)); !ok || code != 0 {
			t.Errorf("%s: taken %v, code %d", args, ok, code)
		}
	}
}
