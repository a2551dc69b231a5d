package node

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/pressure"
)

// relief is what the node remembers about running short.
type relief struct {
	history pressure.History // used by Run alone
	busy    chan struct{}    // holds a token while one relief is at work

	// Of the relief at work.
	victim    *worker
	evictedAt time.Time
	images    map[string]imageTimes
	collected time.Time
}

type imageTimes struct{ seen, used time.Time }

const (
	// imagePeriod is how often images are looked over (the kubelet's
	// ImageGCPeriod).
	imagePeriod = 5 * time.Minute
	// cleanupWait is how long one eviction is given to show before the next
	// (podCleanupTimeout).
	cleanupWait = 30 * time.Second
	// evictionGrace is what pods get that are evicted at once.
	evictionGrace = time.Second
)

// machineNow measures what pressure is judged by.
func (n *Node) machineNow(ctx context.Context) pressure.Measured {
	if n.o.Measure != nil {
		return n.o.Measure()
	}
	var m pressure.Measured
	if avail := meminfo("MemAvailable"); avail > 0 {
		m.MemoryFree, m.MemoryTotal = avail, n.machine.memory
	}
	if u, err := n.o.Engine.Images().Usage(ctx); err == nil {
		m.DiskFree, m.DiskTotal = int64(u.Free), int64(u.Total)
		m.InodesFree, m.Inodes = int64(u.InodesFree), int64(u.Inodes)
	}
	m.PidsFree, m.Pids = pids()
	return m
}

// Shortages tells what the machine is short of, for which pods are kept away and
// evicted.
func (n *Node) Shortages(ctx context.Context) []pressure.Threshold {
	return pressure.Met(n.machineNow(ctx))
}

// conditions measures, and keeps what admission asks for.
func (n *Node) conditions(ctx context.Context) pressure.Conditions {
	c := n.relief.history.Note(pressure.Met(n.machineNow(ctx)), time.Now())
	n.mu.Lock()
	n.resources.pressure = c
	n.mu.Unlock()
	return c
}

// relieve frees memory and disk where they are short, beside Run and one at a time.
func (n *Node) relieve() {
	select {
	case n.relief.busy <- struct{}{}:
	default:
		return
	}
	n.spawn(func() {
		defer func() { <-n.relief.busy }()
		n.enforceLimits()
		n.relievePressure()
		if time.Since(n.relief.collected) >= imagePeriod {
			n.relief.collected = time.Now()
			n.collectImages()
		}
	})
}

// enforceLimits evicts pods that use more local storage than they may. Only those
// that have a limit are measured.
func (n *Node) enforceLimits() {
	for _, w := range n.allWorkers() {
		pod := w.alive()
		if pod == nil || !pressure.Limited(pod) || !pressure.Evictable(pod, w.static) {
			continue
		}
		p := n.usage(w, pod, true)
		if why := pressure.OverLimit(&p); why != "" {
			w.evict(why)
		}
	}
}

// relievePressure evicts one pod for the first threshold that is met and that
// deleting images does not help.
func (n *Node) relievePressure() {
	r := &n.relief
	met := pressure.Met(n.machineNow(n.ctx))
	for _, t := range met {
		if t.Signal == pressure.Disk || t.Signal == pressure.Inodes {
			n.deleteImages(-1)
			met = pressure.Met(n.machineNow(n.ctx))
			break
		}
	}
	if len(met) == 0 || r.victim != nil && !r.victim.tornDown() && time.Since(r.evictedAt) < cleanupWait {
		return
	}
	for _, t := range met {
		workers := map[*v1.Pod]*worker{}
		var pods []pressure.Pod
		for _, w := range n.allWorkers() {
			if pod := w.alive(); pod != nil {
				workers[pod] = w
				pods = append(pods, n.usage(w, pod, t.Signal != pressure.Memory))
			}
		}
		victim, why := pressure.Victim(t, pods)
		if victim == nil {
			continue
		}
		if w := workers[victim.Pod]; w.evict(why) {
			n.log.Warn("evicted a pod", "pod", victim.Pod.Name, "namespace", victim.Pod.Namespace, "signal", t.Signal, "available", t.Available)
			r.victim, r.evictedAt = w, time.Now()
			return
		}
	}
}

// alive is the pod while it is neither ending nor finished.
func (w *worker) alive() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.obs.Failure != nil || w.obs.Gone || w.pod.DeletionTimestamp != nil || lifecycle.Finished(w.pod, &w.obs) {
		return nil
	}
	return w.pod
}

func (w *worker) tornDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.obs.TornDown || w.closed
}

// evict ends the pod for good; it reports whether that was not decided before.
func (w *worker) evict(message string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.obs.Failure != nil || w.obs.Gone || w.pod.DeletionTimestamp != nil {
		return false
	}
	grace := evictionGrace
	w.obs.Failure = &lifecycle.Failure{
		Reason: "Evicted", Message: message, Grace: &grace,
		Condition: &v1.PodCondition{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: v1.PodReasonTerminationByKubelet, Message: message},
	}
	w.n.event(w.pod, v1.EventTypeWarning, "Evicted", "%s", message)
	w.kickLocked()
	return true
}

// usage measures a pod; the disk only where it is asked for.
func (n *Node) usage(w *worker, pod *v1.Pod, disk bool) pressure.Pod {
	out := pressure.Pod{Pod: pod, Static: w.static}
	type run struct{ name, id string }
	var runs []run
	w.mu.Lock()
	for name, c := range w.obs.Containers {
		if c.State == lifecycle.Running {
			runs = append(runs, run{name, c.ID})
		}
	}
	volumes := w.volumes
	w.mu.Unlock()
	for _, r := range runs {
		s, err := n.o.Engine.Stats(n.ctx, r.id)
		if err != nil {
			continue // it ended meanwhile
		}
		c := pressure.Container{Name: r.name, Memory: int64(s.MemoryWorkingSet)}
		if disk {
			c.Disk = int64(s.RootFSUsed) + dirUsed(filepath.Join(n.logDir(pod), r.name))
			out.Disk += c.Disk
		}
		out.Containers = append(out.Containers, c)
	}
	if !disk {
		return out
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		m, ok := volumes[v.Name]
		if !ok || v.EmptyDir == nil || v.EmptyDir.Medium == v1.StorageMediumMemory {
			continue
		}
		used := dirUsed(m.Path)
		out.Volumes = append(out.Volumes, pressure.Volume{Name: v.Name, Used: used})
		out.Disk += used
	}
	return out
}

// dirUsed counts the bytes of disk below dir, each file once.
func dirUsed(dir string) (bytes int64) {
	seen := map[uint64]bool{}
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it goes away while we look
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Nlink > 1 && !d.IsDir() && seen[st.Ino] {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			seen[st.Ino] = true
		}
		bytes += st.Blocks * 512
		return nil
	})
	return bytes
}

// collectImages deletes images while the disk is fuller than the kubelet's
// thresholds allow.
func (n *Node) collectImages() {
	m := n.machineNow(n.ctx)
	want := pressure.ToFree(m.DiskFree, m.DiskTotal)
	if want == 0 {
		n.imagesNow() // only to know when each was last used
		return
	}
	if freed := n.deleteImages(want); freed < want {
		n.events.Eventf(n.ref(), v1.EventTypeWarning, "FreeDiskSpaceFailed",
			"Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", want, freed)
	}
}

// deleteImages deletes what pressure.Delete chooses and returns what that freed.
func (n *Node) deleteImages(want int64) (freed int64) {
	images := n.imagesNow()
	ids, _ := pressure.Delete(images, want, time.Now())
	sizes := map[string]int64{}
	for _, i := range images {
		sizes[i.ID] = i.Size
	}
	for _, id := range ids {
		err := n.o.Engine.Images().Remove(n.ctx, id)
		if err == nil {
			freed += sizes[id]
			delete(n.relief.images, id)
			n.log.Info("deleted an image to free disk", "image", id, "bytes", sizes[id])
		} else if !errors.Is(err, engine.ErrInUse) && !errors.Is(err, engine.ErrNotFound) {
			n.log.Warn("cannot delete an image", "image", id, "error", err)
		}
	}
	return freed
}

// imagesNow lists images with when they were first seen and last used.
func (n *Node) imagesNow() []pressure.Image {
	now := time.Now()
	list, err := n.o.Engine.Images().List(n.ctx)
	if err != nil {
		return nil
	}
	containers, err := n.o.Engine.List(n.ctx, nil)
	if err != nil {
		return nil
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageID] = true
	}
	known := map[string]imageTimes{}
	out := make([]pressure.Image, 0, len(list))
	for _, img := range list {
		t, ok := n.relief.images[img.ID]
		if !ok {
			t.seen = now
		}
		if used[img.ID] {
			t.used = now
		}
		known[img.ID] = t
		out = append(out, pressure.Image{ID: img.ID, Size: img.Size, Seen: t.seen, Used: t.used, InUse: used[img.ID], Kept: len(img.Loaded) > 0})
	}
	n.relief.images = known
	return out
}
