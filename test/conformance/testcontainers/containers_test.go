package testcontainers

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// image is Debian's static busybox, loaded by TestMain.
const image = "skiff.test/busybox:1"

func TestMain(m *testing.M) {
	if os.Getenv("DOCKER_HOST") == "" {
		fmt.Println("testcontainers: needs DOCKER_HOST, the socket of an engine")
		os.Exit(0)
	}
	if err := load(); err != nil {
		fmt.Fprintln(os.Stderr, "testcontainers:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// load imports the image.
func load() error {
	files, err := busybox()
	if err != nil {
		return err
	}
	c, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer c.Close()
	resp, err := c.ImageImport(context.Background(), client.ImageImportSource{Source: files, SourceName: "-"}, image, client.ImageImportOptions{Changes: []string{`CMD ["sh"]`, "ENV PATH=/bin"}})
	if err != nil {
		return err
	}
	defer resp.Close()
	_, err = io.Copy(io.Discard, resp)
	return err
}

// busybox is a tar of a root file system.
func busybox() (io.Reader, error) {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("needs busybox-static: %w", err)
	}
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = w.Write(body)
		}
	}
	add(&tar.Header{Name: "bin/busybox", Mode: 0o755}, program)
	add(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(&tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			add(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	return &b, w.Close()
}

func start(t *testing.T, opts ...testcontainers.ContainerCustomizer) testcontainers.Container {
	t.Helper()
	c, err := testcontainers.Run(t.Context(), image, opts...)
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWaitForLog(t *testing.T) {
	c := start(t, testcontainers.WithCmd("sh", "-c", "echo one; sleep 0.3; echo ready; sleep 600"), testcontainers.WithWaitStrategy(wait.ForLog("ready").WithStartupTimeout(20*time.Second)))
	logs, err := c.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	b, err := io.ReadAll(logs)
	if err != nil || !strings.Contains(string(b), "one") || !strings.Contains(string(b), "ready") {
		t.Errorf("%q %v", b, err)
	}
	state, err := c.State(t.Context())
	if err != nil || !state.Running {
		t.Errorf("%+v %v", state, err)
	}
}

func TestWaitForExitAndFailure(t *testing.T) {
	c := start(t, testcontainers.WithCmd("sh", "-c", "exit 3"), testcontainers.WithWaitStrategy(wait.ForExit()))
	state, err := c.State(t.Context())
	if err != nil || state.ExitCode != 3 {
		t.Errorf("%+v %v", state, err)
	}
	failed, err := testcontainers.Run(t.Context(), image, testcontainers.WithCmd("sh", "-c", "exit 1"), testcontainers.WithWaitStrategy(wait.ForLog("never").WithStartupTimeout(10*time.Second)))
	testcontainers.CleanupContainer(t, failed)
	if err == nil {
		t.Error("a container that ended is waited for in vain, without an error")
	}
}

func TestHTTP(t *testing.T) {
	c := start(t,
		testcontainers.WithFiles(testcontainers.ContainerFile{Reader: strings.NewReader("hello"), ContainerFilePath: "/www/index.html", FileMode: 0o644}),
		testcontainers.WithCmd("httpd", "-f", "-p", "8080", "-h", "/www"), testcontainers.WithExposedPorts("8080/tcp"),
		testcontainers.WithWaitStrategy(wait.ForAll(wait.ForListeningPort("8080/tcp"), wait.ForHTTP("/").WithPort("8080/tcp"))))
	at, err := c.PortEndpoint(t.Context(), "8080/tcp", "http")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
}

func TestExec(t *testing.T) {
	c := start(t, testcontainers.WithCmd("sleep", "600"), testcontainers.WithEnv(map[string]string{"COLOUR": "green"}), testcontainers.WithWaitStrategy(wait.ForExec([]string{"true"})))
	code, out, err := c.Exec(t.Context(), []string{"sh", "-c", "echo $COLOUR $PWD; exit 7"}, tcexec.Multiplexed(), tcexec.WithWorkingDir("/tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(out); err != nil || code != 7 || string(b) != "green /tmp\n" {
		t.Errorf("%d %q %v", code, b, err)
	}
}

func TestCopy(t *testing.T) {
	c := start(t, testcontainers.WithCmd("sleep", "600"))
	if err := c.CopyToContainer(t.Context(), []byte("content"), "/tmp/dir/file", 0o640); err != nil {
		t.Fatal(err)
	}
	r, err := c.CopyFileFromContainer(t.Context(), "/tmp/dir/file")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "content" {
		t.Errorf("%q %v", b, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/a", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyDirToContainer(t.Context(), dir, "/tmp", 0o755); err != nil {
		t.Error(err)
	}
}

func TestNetwork(t *testing.T) {
	n, err := network.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testcontainers.CleanupNetwork(t, n)
	start(t, network.WithNetwork([]string{"server"}, n), testcontainers.WithCmd("sh", "-c", "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 80 -h /www"))
	c := start(t, network.WithNetwork([]string{"asker"}, n), testcontainers.WithCmd("sh", "-c", "until wget -qO- http://server/; do sleep 0.1; done"), testcontainers.WithWaitStrategy(wait.ForExit().WithExitTimeout(20*time.Second)))
	logs, err := c.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if b, err := io.ReadAll(logs); err != nil || !strings.Contains(string(b), "hi\n") {
		t.Errorf("%q %v", b, err)
	}
}

func TestHealth(t *testing.T) {
	dockerfile := "FROM " + image + "\nHEALTHCHECK --interval=200ms CMD test -e /tmp/well\nCMD [\"sh\", \"-c\", \"sleep 0.5; touch /tmp/well; sleep 600\"]\n"
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/Dockerfile", []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := testcontainers.Run(t.Context(), "", testcontainers.WithDockerfile(testcontainers.FromDockerfile{Context: dir}), testcontainers.WithWaitStrategy(wait.ForHealthCheck().WithStartupTimeout(20*time.Second)))
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatal(err)
	}
}

func TestStopAndStart(t *testing.T) {
	c := start(t, testcontainers.WithCmd("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done"), testcontainers.WithWaitStrategy(wait.ForLog("up")))
	timeout := 5 * time.Second
	if err := c.Stop(t.Context(), &timeout); err != nil {
		t.Fatal(err)
	}
	if c.IsRunning() {
		t.Error("it runs")
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !c.IsRunning() {
		t.Error("it does not run again")
	}
}
