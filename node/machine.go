package node

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// machine is what the node tells of the hardware and the system.
type machine struct {
	memory int64 // bytes in all
	info   v1.NodeSystemInfo
}

func readMachine() machine {
	line := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	m := machine{memory: meminfo("MemTotal")}
	m.info = v1.NodeSystemInfo{
		MachineID: line("/etc/machine-id"), SystemUUID: line("/sys/class/dmi/id/product_uuid"),
		BootID: line("/proc/sys/kernel/random/boot_id"), KernelVersion: line("/proc/sys/kernel/osrelease"),
		OSImage: osImage(), OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
	if m.info.SystemUUID == "" {
		m.info.SystemUUID = m.info.MachineID
	}
	return m
}

func osImage() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for l := range bytes.Lines(b) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(string(l)), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return "Linux"
}

// meminfo reads one line of /proc/meminfo, in bytes.
func meminfo(name string) int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for l := range bytes.Lines(b) {
		if v, ok := strings.CutPrefix(string(l), name+":"); ok {
			f := strings.Fields(v)
			if len(f) == 0 {
				return 0
			}
			n, _ := strconv.ParseInt(f[0], 10, 64)
			return n * 1024
		}
	}
	return 0
}

// capacity is what the options say, and of what they do not say what the machine
// has.
func (n *Node) capacity(ctx context.Context) v1.ResourceList {
	c := v1.ResourceList{
		v1.ResourceCPU:                   *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		v1.ResourceMemory:                *resource.NewQuantity(n.machine.memory, resource.BinarySI),
		v1.ResourcePods:                  *resource.NewQuantity(n.o.MaxPods, resource.DecimalSI),
		v1.ResourceName("hugepages-2Mi"): *resource.NewQuantity(0, resource.DecimalSI),
		v1.ResourceName("hugepages-1Gi"): *resource.NewQuantity(0, resource.DecimalSI),
	}
	if u, err := n.o.Engine.Images().Usage(ctx); err == nil && u.Total > 0 {
		c[v1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(u.Total), resource.BinarySI)
	}
	for name, q := range n.o.Capacity {
		c[name] = q
	}
	return c
}

func less(capacity, reserved v1.ResourceList) v1.ResourceList {
	out := capacity.DeepCopy()
	for name, q := range reserved {
		if have, ok := out[name]; ok {
			have.Sub(q)
			if have.Sign() < 0 {
				have = resource.MustParse("0")
			}
			out[name] = have
		}
	}
	return out
}

// pids is how many more processes the machine can have, and how many at all; 0, 0
// where that is not known.
func pids() (free, total int64) {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0
	}
	f := strings.Fields(string(load))
	if len(f) < 4 {
		return 0, 0
	}
	_, running, ok := strings.Cut(f[3], "/")
	limit, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if !ok || err != nil {
		return 0, 0
	}
	t, err1 := strconv.ParseInt(running, 10, 64)
	m, err2 := strconv.ParseInt(strings.TrimSpace(string(limit)), 10, 64)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return m - t, m
}
