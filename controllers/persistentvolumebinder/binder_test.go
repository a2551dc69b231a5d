package persistentvolumebinder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

// volumeOf is a hostPath volume of the class manual.
func volumeOf(name, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName:              "manual",
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/mnt/" + name}},
		},
	}
	for _, c := range change {
		c(pv)
	}
	return pv
}

// claimFor asks for a volume of the class manual.
func claimFor(name, size string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := "manual"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: &class,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func class(name string, mode storagev1.VolumeBindingMode, provisioner string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func inClass(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}

func reclaimed(p corev1.PersistentVolumeReclaimPolicy) func(*corev1.PersistentVolume) {
	return func(pv *corev1.PersistentVolume) { pv.Spec.PersistentVolumeReclaimPolicy = p }
}

// describe is all that the controller writes, one object a line.
func describe(w *looptest.World) string {
	w.T.Helper()
	var b strings.Builder
	var pvs corev1.PersistentVolumeList
	var claims corev1.PersistentVolumeClaimList
	for _, l := range []crclient.ObjectList{&pvs, &claims} {
		if err := w.Client.List(w.Ctx, l); err != nil {
			w.T.Fatal(err)
		}
	}
	marks := func(o crclient.Object) string {
		var out []string
		for _, a := range []string{storagehelpers.AnnBoundByController, storagehelpers.AnnBindCompleted, storagehelpers.AnnStorageProvisioner} {
			if v, ok := o.GetAnnotations()[a]; ok {
				out = append(out, a[strings.Index(a, "/")+1:]+"="+v)
			}
		}
		slices.Sort(out)
		return fmt.Sprint(out)
	}
	for i := range pvs.Items {
		pv := &pvs.Items[i]
		ref := "-"
		if r := pv.Spec.ClaimRef; r != nil {
			ref = r.Namespace + "/" + r.Name
			if r.UID == "" {
				ref += "?"
			}
		}
		fmt.Fprintf(&b, "%s %s %s %s\n", pv.Name, pv.Status.Phase, ref, marks(pv))
	}
	for i := range claims.Items {
		c := &claims.Items[i]
		size := c.Status.Capacity[corev1.ResourceStorage]
		fmt.Fprintf(&b, "%s %s %q %s %s\n", c.Name, c.Status.Phase, c.Spec.VolumeName, size.String(), marks(c))
	}
	return b.String()
}

func expect(w *looptest.World, want string) {
	w.T.Helper()
	w.Settle()
	if got := describe(w); got != strings.TrimPrefix(want, "\n") {
		w.T.Fatalf("got:\n%swant:%s", got, want)
	}
}

func told(w *looptest.World, want string) {
	w.T.Helper()
	w.Settle()
	if !slices.Contains(w.Events(), want) {
		w.T.Fatalf("no event %q in:\n%s", want, strings.Join(w.Events(), "\n"))
	}
}

// in runs a test in a cluster with the controller.
func in(t *testing.T, f func(t *testing.T, w *looptest.World)) {
	synctest.Test(t, func(t *testing.T) { f(t, looptest.Start(t, loop.Config{}, Start)) })
}

func TestBindingTakesTheSmallestVolumeThatIsEnough(t *testing.T) {
	in(t, func(t *testing.T, w *looptest.World) {
		w.Create(volumeOf("big", "10Gi"), volumeOf("fit", "5Gi"), volumeOf("small", "1Gi"),
			volumeOf("other", "4Gi", func(pv *corev1.PersistentVolume) { pv.Spec.StorageClassName = "fast" }))
		expect(w, `
big Available - []
fit Available - []
other Available - []
small Available - []
`)
		w.Create(claimFor("more", "3Gi"))
		w.Settle()
		w.Create(claimFor("data", "3Gi"), claimFor("third", "3Gi"))
		expect(w, `
big Bound default/data [bound-by-controller=yes]
fit Bound default/more [bound-by-controller=yes]
other Available - []
small Available - []
data Bound "big" 10Gi [bind-completed=yes bound-by-controller=yes]
more Bound "fit" 5Gi [bind-completed=yes bound-by-controller=yes]
third Pending "" 0 []
`)
		w.Delete(claimFor("more", "3Gi"))
		expect(w, `
big Bound default/data [bound-by-controller=yes]
fit Released default/more [bound-by-controller=yes]
other Available - []
small Available - []
data Bound "big" 10Gi [bind-completed=yes bound-by-controller=yes]
third Pending "" 0 []
`)
		w.Create(volumeOf("late", "3Gi"))
		w.Settle()
		third := claimFor("third", "3Gi")
		if w.Get(third); third.Spec.VolumeName != "late" {
			t.Errorf("a claim that waits was not given the volume that came: %q", third.Spec.VolumeName)
		}
	})
}

func TestBindingFindsTheSmallestOfMany(t *testing.T) {
	rwo, rwx := corev1.ReadWriteOnce, corev1.ReadWriteMany
	modes := func(m ...corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolume) {
		return func(pv *corev1.PersistentVolume) { pv.Spec.AccessModes = m }
	}
	block := corev1.PersistentVolumeBlock
	all := []*corev1.PersistentVolume{
		volumeOf("both", "2Gi", modes(rwo, rwx)), volumeOf("ten", "10Gi"), volumeOf("five", "5Gi"), volumeOf("one", "1Gi"),
		volumeOf("taken", "3Gi", func(pv *corev1.PersistentVolume) {
			pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "x", Name: "y"}
		}),
		volumeOf("raw", "3Gi", func(pv *corev1.PersistentVolume) { pv.Spec.VolumeMode = &block }),
		volumeOf("gold", "20Gi", func(pv *corev1.PersistentVolume) { pv.Labels = map[string]string{"tier": "gold"} }),
		volumeOf("going", "3Gi", func(pv *corev1.PersistentVolume) { pv.DeletionTimestamp = &metav1.Time{} }),
	}
	for _, pv := range all {
		pv.Status.Phase = corev1.VolumeAvailable
	}
	for name, c := range map[string]struct {
		claim   *corev1.PersistentVolumeClaim
		delayed bool
		want    string
	}{
		"the fewest modes, then the smallest": {claimFor("c", "2Gi"), false, "five"},
		"only one has the modes":              {claimFor("c", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{rwx} }), false, "both"},
		"too much":                            {claimFor("c", "30Gi"), false, ""},
		"selector": {claimFor("c", "2Gi", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
		}), false, "gold"},
		"block":                    {claimFor("c", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block }), false, "raw"},
		"the scheduler's to bind":  {claimFor("c", "2Gi"), true, ""},
		"kept for it, though late": {claimFor("y", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.Namespace = "x" }), true, "taken"},
	} {
		pv, err := findBest(c.claim, all, c.delayed)
		got := ""
		if pv != nil {
			got = pv.Name
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestNamedAndReservedVolumes(t *testing.T) {
	in(t, func(t *testing.T, w *looptest.World) {
		named := func(pv string) func(*corev1.PersistentVolumeClaim) {
			return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = pv }
		}
		w.Create(volumeOf("kept", "5Gi", func(pv *corev1.PersistentVolume) {
			pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "owner"}
		}), volumeOf("small", "1Gi"))
		w.Create(claimFor("stranger", "1Gi", named("kept")), claimFor("greedy", "2Gi", named("small")), claimFor("early", "1Gi", named("late")))
		expect(w, `
kept Available default/owner? []
small Available - []
early Pending "late" 0 []
greedy Pending "small" 0 []
stranger Pending "kept" 0 []
`)
		told(w, `FailedBinding: volume "kept" already bound to a different claim.`)
		told(w, `VolumeMismatch: Cannot bind to requested volume "small": requested PV is too small`)
		w.Create(claimFor("owner", "1Gi"), volumeOf("late", "1Gi"))
		expect(w, `
kept Bound default/owner []
late Bound default/early [bound-by-controller=yes]
small Available - []
early Bound "late" 1Gi [bind-completed=yes]
greedy Pending "small" 0 []
owner Bound "kept" 5Gi [bind-completed=yes bound-by-controller=yes]
stranger Pending "kept" 0 []
`)
	})
}

func TestClaimsThatWaitForTheirPod(t *testing.T) {
	in(t, func(t *testing.T, w *looptest.World) {
		w.Create(class("manual", storagev1.VolumeBindingWaitForFirstConsumer, "kubernetes.io/no-provisioner"), volumeOf("pv", "5Gi"), claimFor("data", "1Gi"))
		expect(w, `
pv Available - []
data Pending "" 0 []
`)
		told(w, "WaitForFirstConsumer: waiting for first consumer to be created before binding")
		w.Create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v",
			VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}}})
		told(w, "WaitForPodScheduled: waiting for pod web to be scheduled")
		// The scheduler reserves the volume; the rest is done here.
		claim := claimFor("data", "1Gi")
		w.Get(claim)
		looptest.Update(w, volumeOf("pv", ""+"5Gi"), func(pv *corev1.PersistentVolume) {
			bound, _, err := storagehelpers.GetBindVolumeToClaim(pv, claim)
			if err != nil {
				t.Fatal(err)
			}
			bound.DeepCopyInto(pv)
		})
		expect(w, `
pv Bound default/data [bound-by-controller=yes]
data Bound "pv" 5Gi [bind-completed=yes bound-by-controller=yes]
`)
	})
}

func TestClaimsWithoutAVolume(t *testing.T) {
	in(t, func(t *testing.T, w *looptest.World) {
		now := storagev1.VolumeBindingImmediate
		w.Create(claimFor("none", "1Gi", inClass("")), claimFor("missing", "1Gi", inClass("absent")),
			class("old", now, "kubernetes.io/no-provisioner"), claimFor("static", "1Gi", inClass("old")),
			class("csi", now, "csi.example.com"), claimFor("made", "1Gi", inClass("csi")),
			claimFor("unset", "1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }))
		told(w, "FailedBinding: no persistent volumes available for this claim and no storage class is set")
		told(w, `ProvisioningFailed: storageclass.storage.k8s.io "absent" not found`)
		told(w, "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner")
		told(w, "ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'csi.example.com' "+
			"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.")
		std := class("standard", now, "csi.example.com")
		std.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
		w.Create(std)
		w.Settle()
		unset := claimFor("unset", "1Gi")
		w.Get(unset)
		if unset.Spec.StorageClassName == nil || *unset.Spec.StorageClassName != "standard" {
			t.Errorf("a class that became the default later was not given: %v", unset.Spec.StorageClassName)
		}
		expect(w, `
made Pending "" 0 [storage-provisioner=csi.example.com]
missing Pending "" 0 []
none Pending "" 0 []
static Pending "" 0 []
unset Pending "" 0 [storage-provisioner=csi.example.com]
`)
	})
}

func TestLostClaims(t *testing.T) {
	in(t, func(t *testing.T, w *looptest.World) {
		w.Create(volumeOf("pv", "1Gi"), claimFor("data", "1Gi"))
		w.Settle()
		w.Delete(volumeOf("pv", "1Gi"))
		expect(w, `
data Lost "pv" 0 [bind-completed=yes bound-by-controller=yes]
`)
		told(w, "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	})
}

func TestDeletePolicy(t *testing.T) {
	path, err := os.MkdirTemp("/tmp", "skiff-reclaim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(path)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	in(t, func(t *testing.T, w *looptest.World) {
		del := reclaimed(corev1.PersistentVolumeReclaimDelete)
		w.Create(volumeOf("tmp", "1Gi", del, func(pv *corev1.PersistentVolume) { pv.Spec.HostPath.Path = path }))
		w.Settle()
		w.Create(claimFor("a", "1Gi"))
		w.Settle()
		w.Create(volumeOf("mnt", "1Gi", del))
		w.Settle()
		w.Create(claimFor("b", "1Gi"))
		w.Settle()
		w.Create(volumeOf("disk", "1Gi", del, func(pv *corev1.PersistentVolume) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/disk"}}
		}))
		w.Settle()
		w.Create(claimFor("c", "1Gi"))
		w.Settle()
		w.Delete(claimFor("a", "1Gi"))
		w.Delete(claimFor("b", "1Gi"))
		w.Delete(claimFor("c", "1Gi"))
		expect(w, `
disk Failed default/c [bound-by-controller=yes]
mnt Failed default/b [bound-by-controller=yes]
`)
		told(w, "VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided /mnt/mnt")
		told(w, `VolumeFailedDelete: error getting deleter volume plugin for volume "disk": no volume plugin matched`)
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the volume's data is still there: %v", err)
		}
		if _, err := os.Stat(filepath.Join(outside, "f")); err != nil {
			t.Errorf("a link was followed: %v", err)
		}
	})
}

func TestRecyclePolicy(t *testing.T) {
	in(t, func(t *testing.T, w *looptest.World) {
		w.Create(volumeOf("pv", "1Gi", reclaimed(corev1.PersistentVolumeReclaimRecycle)), claimFor("data", "1Gi"))
		w.Settle()
		user := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v",
			VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}}}
		w.Create(user)
		w.Delete(claimFor("data", "1Gi"))
		told(w, "VolumeFailedRecycle: Volume is used by pods: default/web")
		w.Delete(user, crclient.GracePeriodSeconds(0))
		w.Settle()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "recycler-for-pv"}}
		w.Get(pod)
		if pod.Spec.Volumes[0].HostPath.Path != "/mnt/pv" || *pod.Spec.ActiveDeadlineSeconds != 60 {
			t.Fatalf("%+v", pod.Spec)
		}
		looptest.UpdateStatus(w, pod, func(p *corev1.Pod) { p.Status.Phase, p.Status.Message = corev1.PodFailed, "no image" })
		told(w, "VolumeFailedRecycle: Recycle failed: failed to recycle volume: no image")
		first := pod.UID
		time.Sleep(again)
		w.Settle()
		if w.Get(pod); pod.UID == first {
			t.Fatal("the pod that failed was not replaced")
		}
		looptest.UpdateStatus(w, pod, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		expect(w, `
pv Available - []
`)
		told(w, "VolumeRecycled: Volume recycled")
		if err := w.Client.Get(context.Background(), crclient.ObjectKeyFromObject(pod), pod); !apierrors.IsNotFound(err) {
			t.Errorf("recycled again: %v", err)
		}
	})
}

func TestMisboundAndUnbound(t *testing.T) {
	claim := claimFor("c", "1Gi")
	claim.UID = "new"
	bound := volumeOf("pv", "1Gi")
	bound.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "c", UID: "old"}
	if p := decideVolume(bound, nil); !p.reclaim || p.phase != corev1.VolumeReleased {
		t.Errorf("of an older claim of that name: %+v", p)
	}
	claim.Spec.VolumeName = "pv"
	claim.Annotations = map[string]string{storagehelpers.AnnBindCompleted: "yes"}
	p, err := decideClaim(claim, &view{volumes: []*corev1.PersistentVolume{bound}})
	if err != nil || p.phase != corev1.ClaimLost || p.event.reason != "ClaimMisbound" {
		t.Errorf("%+v %v", p, err)
	}
	claim.Spec.VolumeName = "another"
	bound.Spec.ClaimRef.UID = "new"
	if p := decideVolume(bound, claim); !p.unbind {
		t.Errorf("its claim is bound to another volume: %+v", p)
	}
}
