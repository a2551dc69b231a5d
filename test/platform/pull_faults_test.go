package platform

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// engineOn starts the engine alone in dir and removes it at the end of the test.
func engineOn(t *testing.T, dir string) *cluster {
	t.Helper()
	c, err := newCluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.reset(); err != nil {
			t.Error(err)
		}
	})
	must(t)(c.skiff("engine", "--detach"))
	return c
}

// unfinished lists what is begun of content and of snapshots.
func unfinished(t *testing.T, c *cluster) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(c.data, "engine", "images", "content", "ingest", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// runsImage runs the image's program, which is asked for what it does not know.
func runsImage(t *testing.T, c *cluster, image string) {
	t.Helper()
	out, err := c.skiff("run", "--rm", image, "/bin/standin", "hello")
	if err == nil || !strings.Contains(out, `"hello" is nothing that I can do`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPullUntilKilled kills the engine at any point of a pull, again and again: what
// a killed pull left is gone after the next start, and the pull can be done.
func TestPullUntilKilled(t *testing.T) {
	needRoot(t)
	g := newRegistry(t)
	image := strings.TrimPrefix(g.URL, "http://") + "/open/app:1"
	c := engineOn(t, t.TempDir())
	empty := files(t, filepath.Join(c.data, "engine", "images", "content"))
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		pull := exec.Command(c.program, "pull", image)
		pull.Env = append(os.Environ(), "SKIFF_DATA_DIR="+c.data, "SKIFF_RUN_DIR="+c.run)
		if err := pull.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
		c.kill(t)
		_ = pull.Wait() // it may have been told of an end, or of success
		must(t)(c.skiff("engine", "--detach"))
		if left := unfinished(t, c); len(left) > 0 {
			t.Fatalf("unfinished content stays: %q", left)
		}
		if out, err := c.skiff("image", "inspect", image); err == nil {
			// The pull was over: the image is whole, and goes as a whole.
			runsImage(t, c, image)
			must(t)(c.skiff("rmi", image))
		} else if !strings.Contains(out, "No such image") {
			t.Fatal(out)
		}
		if left := files(t, filepath.Join(c.data, "engine", "images", "content")); len(left) != len(empty) {
			t.Fatalf("content stays: %q", left)
		}
	}
	must(t)(c.skiff("pull", image))
}

// TestFullDiskUnderPull: a pull that does not fit is refused with the reason and
// leaves nothing; with room it is done. So is a push to the registry of the engine.
func TestFullDiskUnderPull(t *testing.T) {
	dir, data := smallDisk(t, "128m")
	g := newRegistry(t)
	image := strings.TrimPrefix(g.URL, "http://") + "/open/app:1"
	c := engineOn(t, dir)
	must(t)(c.skiff("image", "ls")) // the database is written to once before
	before := files(t, filepath.Join(data, "engine", "images", "content"))
	ballast := filepath.Join(data, "ballast")
	for _, room := range []int64{64 << 10, 1 << 20} {
		fill(t, ballast)
		if err := os.Truncate(ballast, max(size(t, ballast)-room, 0)); err != nil {
			t.Fatal(err)
		}
		out, err := c.skiff("pull", image)
		if err == nil || !strings.Contains(out, "no space left") {
			t.Errorf("with %d bytes of room: %v\n%s", room, err, out)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if after := files(t, filepath.Join(data, "engine", "images", "content")); len(after) != len(before) || len(unfinished(t, c)) > 0 {
			t.Errorf("files before %q, after a pull that failed %q", before, after)
		}
	}
	must(t)(c.skiff("pull", image))
	runsImage(t, c, image)
}
