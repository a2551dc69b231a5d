package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) stats(w http.ResponseWriter, r *route.Request) error {
	stream := r.BoolOr("stream", true)
	once := r.Bool("one-shot") && r.Since("1.41")
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	v := a.view(c)
	if !v.running && !stream {
		return route.WriteJSON(w, http.StatusOK, &container.StatsResponse{ID: v.ID, Name: "/" + v.Name, OSType: "linux"})
	}
	if !stream {
		w.Header().Set("Content-Type", "application/json")
	} else {
		w.Header()["Content-Type"] = nil // a stream of stats has none
	}
	w.WriteHeader(http.StatusOK)
	enc := route.Encoder(route.NewFlusher(w))
	var before *container.StatsResponse
	if !stream && !once {
		if before, err = a.sample(r.Context(), c); err != nil {
			return err
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for first := true; ; first = false {
		if before != nil || !first {
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return nil
			case <-c.gone:
				return nil
			case <-a.ctx.Done():
				return nil
			}
		}
		now, err := a.sample(r.Context(), c)
		if err != nil {
			return err
		}
		if before != nil {
			now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
		}
		if err := enc.Encode(now); err != nil || !stream {
			return err
		}
		before = now
	}
}

// sample counts once; of a container that does not run there is nothing to count.
func (a *Area) sample(ctx context.Context, c *cont) (*container.StatsResponse, error) {
	v := a.view(c)
	out := &container.StatsResponse{ID: v.ID, Name: "/" + v.Name, OSType: "linux"}
	if !v.running {
		return out, nil
	}
	d, err := a.o.Engine.Detail(ctx, v.ID)
	if errors.Is(err, engine.ErrNotRun) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out.Read = d.Time
	out.CPUStats = container.CPUStats{
		CPUUsage:    container.CPUUsage{TotalUsage: d.CPUNanos, PercpuUsage: d.PerCPU, UsageInKernelmode: d.SystemNanos, UsageInUsermode: d.UserNanos},
		SystemUsage: systemUsage(), OnlineCPUs: uint32(runtime.NumCPU()),
		ThrottlingData: container.ThrottlingData{Periods: d.Periods, ThrottledPeriods: d.Throttled, ThrottledTime: d.ThrottledNanos},
	}
	out.MemoryStats = container.MemoryStats{Usage: d.MemoryUsage, MaxUsage: d.MemoryMax, Stats: d.MemoryStat, Failcnt: d.MemoryFailures, Limit: d.MemoryLimit}
	if out.MemoryStats.Limit == 0 {
		out.MemoryStats.Limit = totalMemory()
	}
	out.PidsStats = container.PidsStats{Current: d.Pids, Limit: d.PidsLimit}
	for _, io := range d.IO {
		op := strings.ToLower(io.Op)
		b := &out.BlkioStats
		b.IoServiceBytesRecursive = append(b.IoServiceBytesRecursive, container.BlkioStatEntry{Major: io.Major, Minor: io.Minor, Op: op, Value: io.Bytes})
		b.IoServicedRecursive = append(b.IoServicedRecursive, container.BlkioStatEntry{Major: io.Major, Minor: io.Minor, Op: op, Value: io.Operations})
	}
	if !v.HostConfig.NetworkMode.IsHost() {
		out.Networks = interfaces(v.pid)
	}
	return out, nil
}

// systemUsage is what all processors together have done, in nanoseconds.
func systemUsage() uint64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	var sum uint64
	for i := 1; i < len(f) && i <= 7; i++ {
		n, _ := strconv.ParseUint(f[i], 10, 64)
		sum += n
	}
	return sum * (1e9 / 100)
}

func totalMemory() uint64 {
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) != nil {
		return 0
	}
	return s.Totalram * uint64(s.Unit)
}

// interfaces counts what a process's network interfaces have carried.
func interfaces(pid int) map[string]container.NetworkStats {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil
	}
	return parseInterfaces(string(b))
}

func parseInterfaces(text string) map[string]container.NetworkStats {
	var out map[string]container.NetworkStats
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(rest)
		if !ok || name == "lo" || len(f) < 12 {
			continue
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(f[i], 10, 64)
			return v
		}
		if out == nil {
			out = map[string]container.NetworkStats{}
		}
		out[name] = container.NetworkStats{
			RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDropped: n(3), TxBytes: n(8), TxPackets: n(9), TxErrors: n(10), TxDropped: n(11),
		}
	}
	return out
}
