package pressure

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestMet(t *testing.T) {
	for _, c := range []struct {
		m    Measured
		want string
	}{
		{Measured{}, ""},
		{Measured{MemoryFree: 100 << 20, MemoryTotal: 1 << 30}, ""},
		{Measured{MemoryFree: 100<<20 - 1, MemoryTotal: 1 << 30}, "memory.available"},
		{Measured{DiskFree: 15, DiskTotal: 100}, ""},
		{Measured{DiskFree: 14, DiskTotal: 100}, "imagefs.available"},
		{Measured{InodesFree: 4, Inodes: 100, PidsFree: 4, Pids: 100}, "imagefs.inodesFree pid.available"},
		{Measured{MemoryFree: 1, MemoryTotal: 1 << 30, DiskTotal: 100}, "memory.available imagefs.available"},
	} {
		var got []string
		for _, x := range Met(c.m) {
			got = append(got, string(x.Signal))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%+v: %q, want %q", c.m, g, c.want)
		}
	}
}

func TestThresholdsReadWell(t *testing.T) {
	var got []string
	for _, x := range Met(Measured{MemoryFree: 90 << 20, MemoryTotal: 1 << 30, DiskFree: 131, DiskTotal: 1000, InodesFree: 4, Inodes: 100, PidsFree: 1, Pids: 100}) {
		got = append(got, x.String())
	}
	want := "memory: 90 MiB available, 100 MiB are needed|disk: 13.1 % free, 15 % are needed|inodes: 4.0 % free, 5 % are needed|process ids: 1.0 % free, 5 % are needed"
	if g := strings.Join(got, "|"); g != want {
		t.Errorf("%s\nwant %s", g, want)
	}
}

func TestConditionsStay(t *testing.T) {
	now := time.Unix(1000, 0)
	var h History
	if c := h.Note(nil, now); c != (Conditions{}) {
		t.Error(c)
	}
	h.Note([]Threshold{{Signal: Memory}}, now)
	if c := h.Note([]Threshold{{Signal: Inodes}}, now.Add(Transition-1)); c != (Conditions{Memory: true, Disk: true}) {
		t.Error(c)
	}
	if c := h.Note(nil, now.Add(Transition)); c != (Conditions{Disk: true}) {
		t.Error(c)
	}
}

func pod(name string, priority int32, request string, used int64) Pod {
	p := &v1.Pod{}
	p.Name, p.Spec.Priority = name, &priority
	c := v1.Container{Name: "c"}
	if request != "" {
		c.Resources.Requests = v1.ResourceList{"memory": resource.MustParse(request), "ephemeral-storage": resource.MustParse(request)}
	}
	p.Spec.Containers = []v1.Container{c}
	return Pod{Pod: p, Containers: []Container{{Name: "c", Memory: used, Disk: used}}, Disk: used}
}

func TestVictim(t *testing.T) {
	const mi = 1 << 20
	critical := pod("critical", critical, "", 900*mi)
	static := pod("static", 0, "", 900*mi)
	static.Static = true
	for _, c := range []struct {
		name string
		pods []Pod
		want string
	}{
		{"nobody", nil, ""},
		{"none may be", []Pod{critical, static}, ""},
		{"over its request before the larger one", []Pod{pod("large", 0, "900Mi", 800*mi), pod("over", 0, "10Mi", 20*mi), critical}, "over"},
		{"lower priority before more over", []Pod{pod("more", 10, "", 500*mi), pod("lower", 1, "", 5*mi)}, "lower"},
		{"most over", []Pod{pod("less", 0, "", 5*mi), pod("most", 0, "1Mi", 500*mi)}, "most"},
		{"nobody over: lowest priority", []Pod{pod("high", 5, "10Mi", 1*mi), pod("low", 0, "10Mi", 1*mi)}, "low"},
	} {
		for _, s := range []Signal{Memory, Disk} {
			v, _ := Victim(Threshold{Signal: s}, c.pods)
			got := ""
			if v != nil {
				got = v.Pod.Name
			}
			if got != c.want {
				t.Errorf("%s (%s): %q, want %q", c.name, s, got, c.want)
			}
		}
		if v, _ := Victim(Threshold{Signal: Pids}, c.pods); v != nil {
			t.Errorf("%s: evicted for process ids", c.name)
		}
	}
	_, m := Victim(Threshold{Signal: Disk, Quantity: 15 << 30, Available: 1 << 30}, []Pod{pod("p", 0, "1Mi", 2*mi)})
	want := "The node was low on resource: ephemeral-storage. Threshold quantity: 15Gi, available: 1048576Ki. Container c was using 2048Ki, request is 1Mi, has larger consumption of ephemeral-storage. "
	if m != want {
		t.Errorf("%q", m)
	}
}

func TestOverLimit(t *testing.T) {
	limited := pod("p", 0, "", 100)
	q := resource.MustParse("50")
	limited.Pod.Spec.Containers[0].Resources.Limits = v1.ResourceList{"ephemeral-storage": q}
	if m := OverLimit(&limited); m != "Pod ephemeral local storage usage exceeds the total limit of containers 50. " {
		t.Errorf("%q", m)
	}
	limited.Disk = 10
	if m := OverLimit(&limited); m != `Container c exceeded its local ephemeral storage limit "50". ` {
		t.Errorf("%q", m)
	}
	if !Limited(limited.Pod) || Limited(pod("q", 0, "", 0).Pod) {
		t.Error("what is limited")
	}
	mem := pod("m", 0, "", 0)
	mem.Pod.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: &q}}}}
	mem.Volumes = []Volume{{"v", 100}}
	if m := OverLimit(&mem); m != "" || Limited(mem.Pod) {
		t.Errorf("%q", m)
	}
	mem.Pod.Spec.Volumes[0].EmptyDir.Medium = ""
	if m := OverLimit(&mem); m != `Usage of EmptyDir volume "v" exceeds the limit "50". ` {
		t.Errorf("%q", m)
	}
}

func TestRefuse(t *testing.T) {
	tolerant, prio := pod("t", 0, "", 0), pod("c", critical, "", 0)
	tolerant.Pod.Spec.Tolerations = []v1.Toleration{{Key: v1.TaintNodeMemoryPressure, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoSchedule}}
	plain := pod("p", 0, "", 0)
	for _, c := range []struct {
		p          *v1.Pod
		bestEffort bool
		c          Conditions
		want       string
	}{
		{plain.Pod, true, Conditions{}, ""},
		{plain.Pod, true, Conditions{Memory: true}, "The node had condition: [MemoryPressure]. "},
		{plain.Pod, false, Conditions{Memory: true}, ""},
		{tolerant.Pod, true, Conditions{Memory: true}, ""},
		{tolerant.Pod, true, Conditions{Memory: true, Disk: true}, "The node had condition: [MemoryPressure DiskPressure]. "},
		{plain.Pod, false, Conditions{Disk: true}, "The node had condition: [DiskPressure]. "},
		{prio.Pod, true, Conditions{Disk: true}, ""},
	} {
		if got := Refuse(c.p, false, c.bestEffort, c.c); got != c.want {
			t.Errorf("%s %v %+v: %q", c.p.Name, c.bestEffort, c.c, got)
		}
	}
}

func TestImages(t *testing.T) {
	for _, c := range []struct{ free, total, want int64 }{{0, 0, 0}, {16, 100, 0}, {15, 100, 5}, {0, 1000, 200}} {
		if got := ToFree(c.free, c.total); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	now := time.Unix(100000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	images := []Image{
		{ID: "used", Size: 10, Seen: ago(time.Hour), Used: now, InUse: true},
		{ID: "late", Size: 10, Seen: ago(time.Hour), Used: ago(time.Minute)},
		{ID: "early", Size: 10, Seen: ago(time.Hour), Used: ago(time.Hour)},
		{ID: "never", Size: 10, Seen: ago(time.Hour)},
		{ID: "new", Size: 10, Seen: ago(time.Minute)},
		{ID: "kept", Size: 10, Seen: ago(time.Hour), Kept: true},
	}
	for bytes, want := range map[int64]string{0: "[] 0", 1: "[never] 10", 11: "[never early] 20", 1000: "[never early late] 30", -1: "[never early late] 30"} {
		ids, freed := Delete(images, bytes, now)
		if got := fmt.Sprint(ids, freed); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}
