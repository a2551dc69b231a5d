package platform

import (
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// shared is the instance that the scripts use.
var shared struct {
	once    sync.Once
	dir     string
	cluster *cluster
	err     error
}

func TestMain(m *testing.M) {
	flag.Parse()
	// Scripts wait more than they work.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	var err error
	if shared.dir, err = os.MkdirTemp("", "skiff-platform-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.reset(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(shared.dir)
	os.Exit(code)
}

// needRoot skips where containers cannot be made; CI, which is root, fails
// instead.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("CI must run the platform tests as root")
	}
	t.Skip("needs root: makes containers, interfaces and mounts")
}

// cluster is one instance of the program under test.
type cluster struct {
	program   string
	data, run string
	binDir    string // holds skiff, kubectl and standin
	nodeIP    string
	flags     []string
	vars      map[string]string // further variables of scripts
}

func program() (string, error) {
	p := os.Getenv("SKIFF")
	if p == "" {
		p = "../../bin/skiff"
	}
	p, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("the program to test is not there; make build: %w", err)
	}
	return p, nil
}

// newCluster prepares an instance below dir without starting it.
func newCluster(dir string, flags ...string) (*cluster, error) {
	p, err := program()
	if err != nil {
		return nil, err
	}
	c := &cluster{program: p, data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run"), binDir: filepath.Join(dir, "bin")}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c.flags = append([]string{"--listen", fmt.Sprintf("0.0.0.0:%d", port)}, flags...)
	if err := os.MkdirAll(c.binDir, 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"skiff", "kubectl"} {
		if err := os.Symlink(p, filepath.Join(c.binDir, name)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// startCluster starts an instance with the stand-in images in it.
func startCluster(dir string, flags ...string) (*cluster, error) {
	c, err := newCluster(dir, flags...)
	if err != nil {
		return nil, err
	}
	if _, err := c.up(); err != nil {
		return nil, err
	}
	archive, err := imageArchive()
	if err != nil {
		return c, err
	}
	if err := os.Symlink(filepath.Join(filepath.Dir(archive), "standin"), filepath.Join(c.binDir, "standin")); err != nil {
		return c, err
	}
	if _, err := c.skiff("image", "load", archive); err != nil {
		return c, err
	}
	c.nodeIP, err = c.kubectl("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	return c, err
}

// instance is what the names of its interfaces, tables and control groups have in
// them: it is the data directory's.
func (c *cluster) instance() string {
	h := fnv.New32a()
	h.Write([]byte(c.data))
	return fmt.Sprintf("sk%06x", h.Sum32()&0xffffff)
}

func (c *cluster) env() map[string]string {
	env := map[string]string{"SKIFF_DATA_DIR": c.data, "SKIFF_RUN_DIR": c.run}
	maps.Copy(env, c.vars)
	return env
}

func (c *cluster) up() (string, error) {
	return c.skiff(append([]string{"up", "--detach"}, c.flags...)...)
}

// skiff runs the program for this instance and returns what it prints.
func (c *cluster) skiff(args ...string) (string, error) { return c.exec("skiff", args...) }

func (c *cluster) kubectl(args ...string) (string, error) { return c.exec("kubectl", args...) }

func (c *cluster) exec(name string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(c.binDir, name), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=")
	for k, v := range c.env() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *cluster) reset() error {
	_, err := c.skiff("reset", "--yes")
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

var archive struct {
	once sync.Once
	path string
	err  error
}

// imageArchive makes the stand-ins once for all instances.
func imageArchive() (string, error) {
	archive.once.Do(func() { archive.path, archive.err = makeArchive(shared.dir) })
	return archive.path, archive.err
}

func matches(ts *testscript.TestScript, pattern, text string) bool {
	ok, err := regexp.MatchString("(?m)"+pattern, text)
	ts.Check(err)
	return ok
}
