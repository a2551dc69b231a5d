package scheduler

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

func withClaim(names ...string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		for _, n := range names {
			p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: n, VolumeSource: v1.VolumeSource{
				PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: n}}})
		}
	}
}

func claimOf(name, size, class string, change ...func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
	c := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("claim-" + name)},
		Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse(size)}},
		},
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// has binds a claim to a volume as the controller does.
func has(pv string) func(*v1.PersistentVolumeClaim) {
	return func(c *v1.PersistentVolumeClaim) {
		c.Spec.VolumeName, c.Status.Phase = pv, v1.ClaimBound
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, storagehelpers.AnnBindCompleted, "yes")
	}
}

func localVolume(name, size, class, node string) *v1.PersistentVolume {
	pv := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PersistentVolumeSpec{
			StorageClassName: class, AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Capacity:               v1.ResourceList{v1.ResourceStorage: resource.MustParse(size)},
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/disk"}},
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeAvailable},
	}
	if node != "" {
		pv.Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	}
	return pv
}

func waits(name, provisioner string) *storagev1.StorageClass {
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func TestDecisionsWithClaims(t *testing.T) {
	zoned := localVolume("zoned", "1Gi", "x", "")
	zoned.Labels = map[string]string{v1.LabelTopologyZone: "z2"}
	zone := func(n *v1.Node) { n.Labels[v1.LabelTopologyZone] = "z1" }
	user := podOf("user", "", "", withClaim("alone"), on("a"))
	alone := func(c *v1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOncePod}
	}
	going := func(c *v1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{Time: time.Now()} }
	lost := func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName, c.Status.Phase = "pv", v1.ClaimLost }
	selected := func(c *v1.PersistentVolumeClaim) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, storagehelpers.AnnSelectedNode, "b")
	}
	const never = " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	for _, c := range []struct {
		name   string
		claims []*v1.PersistentVolumeClaim
		pvs    []*v1.PersistentVolume
		class  *storagev1.StorageClass
		want   string
	}{
		{"missing", nil, nil, nil, `0/2 nodes are available: persistentvolumeclaim "data" not found.` + never},
		{"unbound", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x")}, nil, nil,
			"0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims." + never},
		{"being deleted", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", going)}, nil, nil,
			`0/2 nodes are available: persistentvolumeclaim "data" is being deleted.` + never},
		{"lost", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", lost)}, nil, nil,
			`0/2 nodes are available: persistentvolumeclaim "data" bound to non-existent persistentvolume "pv".` + never},
		{"bound on b", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", has("pv"))}, []*v1.PersistentVolume{localVolume("pv", "1Gi", "x", "b")}, nil, "b"},
		{"bound elsewhere", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", has("pv"))}, []*v1.PersistentVolume{localVolume("pv", "1Gi", "x", "z")}, nil,
			"0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity." + never},
		{"bound to nothing", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", has("pv"))}, nil, nil,
			"0/2 nodes are available: 2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)." + never},
		{"another zone", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", has("zoned"))}, []*v1.PersistentVolume{zoned}, nil,
			"0/2 nodes are available: 2 node(s) had no available volume zone." + never},
		{"waits and finds", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x")},
			[]*v1.PersistentVolume{localVolume("small", "1Mi", "x", "a"), localVolume("pv", "2Gi", "x", "b")}, waits("x", "kubernetes.io/no-provisioner"), "b pv"},
		{"waits in vain", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x")}, []*v1.PersistentVolume{localVolume("small", "1Mi", "x", "a")}, waits("x", "kubernetes.io/no-provisioner"),
			"0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind." + never},
		{"provisioned", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x")}, nil, waits("x", "csi.example.com"), "a provision data"},
		{"provisioned where it began", []*v1.PersistentVolumeClaim{claimOf("data", "1Gi", "x", selected)}, nil, waits("x", "csi.example.com"), "b provision data"},
	} {
		s := newSnapshot()
		s.setNode(nodeOf("a", "1", "1Gi", zone))
		s.setNode(nodeOf("b", "1", "1Gi", zone))
		s.storage = storageOf(c.class, c.claims, c.pvs)
		p := podOf("p", "", "", withClaim("data"))
		i, volumes, got := (&Scheduler{snapshot: s}).decide(&class{wish: newWish(p)}, &waiting{pod: p})
		if i >= 0 {
			got = s.nodes[i].obj.Name
			if volumes != nil {
				for _, pv := range volumes.reserve {
					got += " " + pv.Name
				}
				for _, claim := range volumes.provision {
					got += " provision " + claim.Name
				}
			}
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}

	s := newSnapshot()
	s.setNode(nodeOf("a", "1", "1Gi"))
	s.storage = storageOf(nil, []*v1.PersistentVolumeClaim{claimOf("alone", "1Gi", "x", has("pv"), alone)}, []*v1.PersistentVolume{localVolume("pv", "1Gi", "x", "")})
	d := demandOf(user)
	s.place(user, "a", &d, false)
	p := podOf("p", "", "", withClaim("alone"))
	if _, _, why := (&Scheduler{snapshot: s}).decide(&class{wish: newWish(p)}, &waiting{pod: p}); !strings.Contains(why, "1 "+reasonOneClaimer) {
		t.Errorf("a claim for one pod was given to two: %s", why)
	}
}

func storageOf(class *storagev1.StorageClass, claims []*v1.PersistentVolumeClaim, pvs []*v1.PersistentVolume) storage {
	s := newStorage()
	for _, c := range claims {
		s.claims[crclient.ObjectKeyFromObject(c)] = c
	}
	for _, pv := range pvs {
		s.setVolume(pv)
	}
	if class != nil {
		s.classes[class.Name] = class
	}
	return s
}

// TestTwoClaimsGetTwoVolumes: what one claim of a pod is given, the other is not.
func TestTwoClaimsGetTwoVolumes(t *testing.T) {
	s := newSnapshot()
	s.setNode(nodeOf("a", "1", "1Gi"))
	s.storage = storageOf(waits("x", "kubernetes.io/no-provisioner"), []*v1.PersistentVolumeClaim{claimOf("big", "2Gi", "x"), claimOf("small", "1Gi", "x")},
		[]*v1.PersistentVolume{localVolume("one", "1Gi", "x", "a"), localVolume("two", "2Gi", "x", "a")})
	p := podOf("p", "", "", withClaim("big", "small"))
	i, volumes, why := (&Scheduler{snapshot: s}).decide(&class{wish: newWish(p)}, &waiting{pod: p})
	if i != 0 || len(volumes.reserve) != 2 {
		t.Fatalf("%d %v %s", i, volumes, why)
	}
	for c, pv := range volumes.reserve {
		if c.Name == "big" && pv.Name != "two" || c.Name == "small" && pv.Name != "one" {
			t.Errorf("%s gets %s", c.Name, pv.Name)
		}
	}
}

// finish binds a claim as the controller does, when its volume was reserved.
func (w *world) finish(claim, pv string) {
	w.t.Helper()
	var c v1.PersistentVolumeClaim
	if err := w.c.Get(w.t.Context(), crclient.ObjectKey{Namespace: "default", Name: claim}, &c); err != nil {
		w.t.Fatal(err)
	}
	has(pv)(&c)
	if err := w.c.Update(w.t.Context(), &c); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func TestVolumesAreReservedBeforeThePodIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.create(waits("x", "kubernetes.io/no-provisioner"), nodeOf("a", "1", "1Gi"), nodeOf("b", "1", "1Gi"))
		w.create(podOf("p", "600m", "1Mi", withClaim("data")), podOf("other", "600m", "1Mi", withClaim("more")))
		if got := w.pod("p").Status.Conditions; len(got) != 1 || !strings.HasPrefix(got[0].Message, `0/2 nodes are available: persistentvolumeclaim "data" not found.`) {
			t.Fatalf("%+v", got)
		}
		w.create(claimOf("data", "1Gi", "x"), claimOf("more", "1Gi", "x"))
		w.create(localVolume("pv", "1Gi", "x", "b"))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		var pv v1.PersistentVolume
		if err := w.c.Get(t.Context(), crclient.ObjectKey{Name: "pv"}, &pv); err != nil {
			t.Fatal(err)
		}
		if pv.Spec.ClaimRef == nil || pv.Annotations[storagehelpers.AnnBoundByController] != "yes" {
			t.Fatalf("the volume is not reserved: %+v", pv.Spec)
		}
		lucky, claim := "p", pv.Spec.ClaimRef.Name
		if claim == "more" {
			lucky = "other"
		}
		if w.pod(lucky).Spec.NodeName != "" {
			t.Fatal("bound before its volume")
		}
		w.finish(claim, "pv")
		if got := w.pod(lucky).Spec.NodeName; got != "b" {
			t.Fatalf("%s is on %q", lucky, got)
		}
		for _, name := range []string{"p", "other"} {
			if name != lucky && w.pod(name).Spec.NodeName != "" {
				t.Errorf("%s was placed without a volume", name)
			}
		}
	})
}

func TestReservationEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.create(waits("x", "csi.example.com"), nodeOf("a", "1", "1Gi"), claimOf("data", "1Gi", "x"), podOf("p", "600m", "1Mi", withClaim("data")))
		var c v1.PersistentVolumeClaim
		if err := w.c.Get(t.Context(), crclient.ObjectKey{Namespace: "default", Name: "data"}, &c); err != nil {
			t.Fatal(err)
		}
		if c.Annotations[storagehelpers.AnnSelectedNode] != "a" {
			t.Fatalf("the provisioner was not told the node: %v", c.Annotations)
		}
		time.Sleep(bindTimeout)
		synctest.Wait()
		got := w.pod("p").Status.Conditions
		if len(got) != 1 || got[0].Reason != "SchedulerError" || got[0].Message != errVolumesTimeout.Error() {
			t.Fatalf("%+v", got)
		}
		time.Sleep(20 * time.Second)
		w.create(localVolume("made", "1Gi", "x", "a"))
		w.finish("data", "made")
		if got := w.pod("p").Spec.NodeName; got != "a" {
			t.Fatalf("p is on %q", got)
		}
	})
}
