package platform

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/cli"
)

// TestDockerEnv: a shell that evaluates what docker-env prints has the address of
// this instance's engine, whatever its directory is called.
func TestDockerEnv(t *testing.T) {
	for _, run := range []string{"/run/skiff", "/run/it's mine; $(x)"} {
		c := &Config{Dirs: cli.Dirs{Run: run}}
		cmd := dockerEnvCommand(c)
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(nil)
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("sh", "-ec", out.String()+`printf %s "$DOCKER_HOST"`).Output()
		if want := "unix://" + filepath.Join(run, cli.DockerSocket); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q from\n%s", got, err, want, &out)
		}
	}
}
