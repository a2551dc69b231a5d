package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sys/unix"
)

// TestRealSandbox: what containers of a pod share, and a pod whose sandbox dies.
func TestRealSandbox(t *testing.T) {
	r := newRealRig(t)
	yes := true
	spec := v1.PodSpec{
		ShareProcessNamespace: &yes,
		Containers: []v1.Container{
			{Name: "a", Image: "box:1", Command: []string{"sh", "-c", "echo from a > /dev/shm/x; exec sleep 1000"}},
			{Name: "b", Image: "box:1", Command: []string{"sh", "-c", "until cat /dev/shm/x 2>/dev/null; do sleep 0.05; done; mount; exec sleep 1000"}},
		},
	}
	r.make("web", spec)
	r.until("web", "Running ready=True a:running b:running")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		log := r.get("/containerLogs/default/web/b")
		if strings.Contains(log, "from a\n") && strings.Contains(log, " on /dev/shm type tmpfs (rw,nosuid,nodev,noexec") && strings.Contains(log, "size=65536k") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(log)
		}
	}
	var box struct{ Pause int }
	raw, err := os.ReadFile(filepath.Join(r.run, "data", "sandboxes", "uid-web_0.json"))
	if err == nil {
		err = json.Unmarshal(raw, &box)
	}
	if err != nil || box.Pause <= 1 {
		t.Fatal(err, box)
	}
	if err := unix.Kill(box.Pause, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.until("web", "Running ready=True a:runningx1 b:runningx1")
	r.hasEvent("web", "SandboxChanged: Pod sandbox changed, it will be killed and re-created.")
	r.delete("web", client.GracePeriodSeconds(0))
	r.until("web", "gone")
}
