package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
)

// The shapes of /stats/summary (k8s.io/kubelet/pkg/apis/stats/v1alpha1), as far as
// this node fills them.
type (
	summary struct {
		Node nodeStats  `json:"node"`
		Pods []podStats `json:"pods"`
	}
	nodeStats struct {
		NodeName  string       `json:"nodeName"`
		StartTime metav1.Time  `json:"startTime"`
		Memory    *memoryStats `json:"memory,omitempty"`
		Fs        *fsStats     `json:"fs,omitempty"`
	}
	podStats struct {
		PodRef     podRefStats      `json:"podRef"`
		StartTime  metav1.Time      `json:"startTime"`
		Containers []containerStats `json:"containers"`
		CPU        *cpuStats        `json:"cpu,omitempty"`
		Memory     *memoryStats     `json:"memory,omitempty"`
	}
	podRefStats struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	}
	containerStats struct {
		Name      string       `json:"name"`
		StartTime metav1.Time  `json:"startTime"`
		CPU       *cpuStats    `json:"cpu,omitempty"`
		Memory    *memoryStats `json:"memory,omitempty"`
		Rootfs    *fsStats     `json:"rootfs,omitempty"`
	}
	cpuStats struct {
		Time                 metav1.Time `json:"time"`
		UsageCoreNanoSeconds uint64      `json:"usageCoreNanoSeconds"`
	}
	memoryStats struct {
		Time            metav1.Time `json:"time"`
		UsageBytes      uint64      `json:"usageBytes"`
		WorkingSetBytes uint64      `json:"workingSetBytes"`
		RSSBytes        uint64      `json:"rssBytes,omitempty"`
		AvailableBytes  uint64      `json:"availableBytes,omitempty"`
		PageFaults      uint64      `json:"pageFaults,omitempty"`
		MajorPageFaults uint64      `json:"majorPageFaults,omitempty"`
	}
	fsStats struct {
		Time           metav1.Time `json:"time"`
		AvailableBytes uint64      `json:"availableBytes,omitempty"`
		CapacityBytes  uint64      `json:"capacityBytes,omitempty"`
		UsedBytes      uint64      `json:"usedBytes"`
		InodesUsed     uint64      `json:"inodesUsed,omitempty"`
	}
)

// measured is one running container with its counters.
type measured struct {
	pod       *v1.Pod
	container string
	started   time.Time
	stats     *engine.Stats
}

// measure asks the engine for the counters of every running container.
func (n *Node) measure(ctx context.Context) []measured {
	var out []measured
	for _, w := range n.allWorkers() {
		w.mu.Lock()
		pod := w.pod
		type run struct {
			name, id string
			at       time.Time
		}
		var runs []run
		for name, c := range w.obs.Containers {
			if c.State == lifecycle.Running {
				runs = append(runs, run{name, c.ID, c.StartedAt})
			}
		}
		w.mu.Unlock()
		for _, r := range runs {
			s, err := n.o.Engine.Stats(ctx, r.id)
			if err != nil {
				continue // it ended in between
			}
			out = append(out, measured{pod, r.name, r.at, s})
		}
	}
	return out
}

func (n *Node) serveSummary(rw http.ResponseWriter, r *http.Request) {
	now := metav1.Now()
	total, available := uint64(n.machine.memory), uint64(max(meminfo("MemAvailable"), 0))
	s := summary{Pods: []podStats{}, Node: nodeStats{NodeName: n.o.Name, StartTime: now,
		Memory: &memoryStats{Time: now, UsageBytes: total - min(available, total), WorkingSetBytes: total - min(available, total), AvailableBytes: available}}}
	if u, err := n.o.Engine.Images().Usage(r.Context()); err == nil {
		s.Node.Fs = &fsStats{Time: now, AvailableBytes: u.Free, CapacityBytes: u.Total, UsedBytes: u.Used}
	}
	index := map[*v1.Pod]int{}
	for _, m := range n.measure(r.Context()) {
		i, ok := index[m.pod]
		if !ok {
			i = len(s.Pods)
			index[m.pod] = i
			s.Pods = append(s.Pods, podStats{PodRef: podRefStats{m.pod.Name, m.pod.Namespace, string(m.pod.UID)},
				CPU: &cpuStats{Time: now}, Memory: &memoryStats{Time: now}})
			if t := m.pod.Status.StartTime; t != nil {
				s.Pods[i].StartTime = *t
			}
		}
		p, at := &s.Pods[i], metav1.NewTime(m.stats.Time)
		p.Containers = append(p.Containers, containerStats{
			Name: m.container, StartTime: metav1.NewTime(m.started),
			CPU: &cpuStats{at, m.stats.CPUNanos},
			Memory: &memoryStats{Time: at, UsageBytes: m.stats.MemoryUsage, WorkingSetBytes: m.stats.MemoryWorkingSet, RSSBytes: m.stats.MemoryRSS,
				PageFaults: m.stats.PageFaults, MajorPageFaults: m.stats.MajorPageFaults},
			Rootfs: &fsStats{Time: at, UsedBytes: m.stats.RootFSUsed, InodesUsed: m.stats.RootFSInodes},
		})
		p.CPU.UsageCoreNanoSeconds += m.stats.CPUNanos
		p.Memory.UsageBytes += m.stats.MemoryUsage
		p.Memory.WorkingSetBytes += m.stats.MemoryWorkingSet
		p.Memory.RSSBytes += m.stats.MemoryRSS
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(&s)
}

// serveResourceMetrics is /metrics/resource in Prometheus' text format, with the
// kubelet's names.
func (n *Node) serveResourceMetrics(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	all := n.measure(r.Context())
	family := func(name, kind, help string, value func(measured) float64) {
		fmt.Fprintf(rw, "# HELP %s [STABLE] %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, m := range all {
			fmt.Fprintf(rw, "%s{container=%q,namespace=%q,pod=%q} %g %d\n", name, m.container, m.pod.Namespace, m.pod.Name, value(m), m.stats.Time.UnixMilli())
		}
	}
	family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds",
		func(m measured) float64 { return float64(m.stats.CPUNanos) / 1e9 })
	family("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes",
		func(m measured) float64 { return float64(m.stats.MemoryWorkingSet) })
	family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds",
		func(m measured) float64 { return float64(m.started.UnixNano()) / 1e9 })
	available := uint64(max(meminfo("MemAvailable"), 0))
	fmt.Fprintf(rw, "# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes\n# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes %d\n",
		uint64(n.machine.memory)-min(available, uint64(n.machine.memory)))
}
