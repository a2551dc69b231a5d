// Package pressure decides what a node does when it runs short of memory or disk:
// which conditions it reports, which pods it evicts, which images it deletes. All
// of it is pure; package node measures and acts. The rules and their numbers are
// the kubelet's defaults
// (https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/).
package pressure

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Measured is what there is of the machine's resources; a Total of zero means that
// it is not known.
type Measured struct {
	MemoryFree, MemoryTotal int64 // bytes; free is what can be had without swapping
	DiskFree, DiskTotal     int64 // of the filesystem of images, containers and volumes
	InodesFree, Inodes      int64
	PidsFree, Pids          int64
}

// Signal names a threshold as the kubelet does.
type Signal string

// Signals. One filesystem holds everything, so that of the kubelet's thresholds for
// nodefs (10%) and imagefs (15%) the second is met first.
const (
	Memory Signal = "memory.available"
	Disk   Signal = "imagefs.available"
	Inodes Signal = "imagefs.inodesFree"
	Pids   Signal = "pid.available"
)

// The kubelet's evictionHard; it has none for process ids, of which only the
// condition is reported.
const (
	memoryMin     = 100 << 20
	diskPercent   = 15
	inodesPercent = 5
	pidsPercent   = 5
)

// Transition is how long a condition stays after its threshold was last met
// (evictionPressureTransitionPeriod).
const Transition = 5 * time.Minute

// Threshold is one that is met.
type Threshold struct {
	Signal           Signal
	Quantity         int64 // what must be there
	Available, Total int64
}

// String tells it to people.
func (t Threshold) String() string {
	if t.Signal == Memory {
		return fmt.Sprintf("memory: %d MiB available, %d MiB are needed", t.Available>>20, t.Quantity>>20)
	}
	name := map[Signal]string{Disk: "disk", Inodes: "inodes", Pids: "process ids"}[t.Signal]
	percent := func(n int64) float64 { return float64(n) * 100 / float64(t.Total) }
	return fmt.Sprintf("%s: %.1f %% free, %.0f %% are needed", name, percent(t.Available), percent(t.Quantity))
}

// Met lists the thresholds that are met, memory first as evictions for it are more
// urgent.
func Met(m Measured) []Threshold {
	var out []Threshold
	add := func(s Signal, free, total, min int64) {
		if total > 0 && free < min {
			out = append(out, Threshold{s, min, free, total})
		}
	}
	add(Memory, m.MemoryFree, m.MemoryTotal, memoryMin)
	add(Disk, m.DiskFree, m.DiskTotal, m.DiskTotal/100*diskPercent)
	add(Inodes, m.InodesFree, m.Inodes, m.Inodes/100*inodesPercent)
	add(Pids, m.PidsFree, m.Pids, m.Pids/100*pidsPercent)
	return out
}

// Conditions are what the node reports.
type Conditions struct{ Memory, Disk, PID bool }

// History remembers when thresholds were met. Its zero value is ready; it is not
// safe for concurrent use.
type History struct{ memory, disk, pid time.Time }

// Note takes what is met now and returns the conditions, which stay for Transition.
func (h *History) Note(met []Threshold, now time.Time) Conditions {
	for _, t := range met {
		switch t.Signal {
		case Memory:
			h.memory = now
		case Disk, Inodes:
			h.disk = now
		case Pids:
			h.pid = now
		}
	}
	on := func(at time.Time) bool { return !at.IsZero() && now.Sub(at) < Transition }
	return Conditions{on(h.memory), on(h.disk), on(h.pid)}
}

// resourceName is what messages call the resource of a signal.
func (s Signal) resourceName() string {
	switch s {
	case Memory:
		return "memory"
	case Inodes:
		return "inodes"
	case Pids:
		return "pids"
	}
	return "ephemeral-storage"
}

func (t Threshold) message() string {
	format := resource.BinarySI
	if t.Signal == Inodes || t.Signal == Pids {
		format = resource.DecimalSI
	}
	return fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ", t.Signal.resourceName(),
		resource.NewQuantity(t.Quantity, format), kibi(t.Available, format))
}

// kibi prints an amount of bytes in Ki, as the kubelet's statistics come.
func kibi(n int64, format resource.Format) string {
	if format == resource.BinarySI {
		return fmt.Sprintf("%dKi", n/1024)
	}
	return resource.NewQuantity(n, format).String()
}
