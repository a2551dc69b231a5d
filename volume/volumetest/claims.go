package volumetest

import (
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func claim(name string, readOnly bool) v1.VolumeSource {
	return v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: readOnly}}
}

// bind makes a claim and a volume of the same name that are each other's.
func (s *suite) bind(name string, src v1.PersistentVolumeSource, change ...func(*v1.PersistentVolumeClaim, *v1.PersistentVolume)) {
	s.Helper()
	c, pv := &v1.PersistentVolumeClaim{}, &v1.PersistentVolume{}
	c.Name, c.Namespace, c.UID = name, "default", types.UID("uid-"+name)
	pv.Name, pv.Spec.PersistentVolumeSource = "pv-"+name, src
	c.Spec.VolumeName, c.Status.Phase = pv.Name, v1.ClaimBound
	pv.Spec.ClaimRef = &v1.ObjectReference{Namespace: c.Namespace, Name: c.Name, UID: c.UID}
	for _, f := range change {
		f(c, pv)
	}
	s.create(c)
	s.create(pv)
}

func (s *suite) claims() {
	dir := s.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		s.Fatal(err)
	}
	node := &v1.Node{}
	node.Name, node.Labels = "here", map[string]string{v1.LabelHostname: "here"}
	s.create(node)
	there := func(_ *v1.PersistentVolumeClaim, pv *v1.PersistentVolume) {
		pv.Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{"there"}}}}}}}
	}
	host := func(path string, t v1.HostPathType) v1.PersistentVolumeSource {
		return v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: &t}}
	}
	local := func(path string) v1.PersistentVolumeSource {
		return v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}}
	}
	pod := func(src v1.VolumeSource) *v1.Pod {
		p := s.pod(vol("data", src))
		p.Spec.NodeName = "here"
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "data", MountPath: "/data"}}
		return p
	}

	s.bind("host", host(dir, v1.HostPathUnset))
	m := s.mount(pod(claim("host", false)))["data"]
	if m.ReadOnly {
		s.Error("read-only unasked")
	}
	s.reads(filepath.Join(m.Path, "file"), "kept")
	if !s.mount(pod(claim("host", true)))["data"].ReadOnly {
		s.Error("a claim that is only read can be written")
	}
	p := pod(claim("host", false))
	c := &p.Spec.Containers[0]
	c.VolumeMounts[0].SubPath = "sub"
	if path, err := s.vols.SubPath(s.Context(), p, c, 0, m, "sub"); err != nil {
		s.Error(err)
	} else if err := os.WriteFile(filepath.Join(path, "f"), []byte("x"), 0o600); err != nil {
		s.Error(err)
	}
	s.reads(filepath.Join(dir, "sub", "f"), "x")

	s.bind("made", host(filepath.Join(dir, "new"), v1.HostPathDirectoryOrCreate))
	if info, err := os.Stat(s.mount(pod(claim("made", false)))["data"].Path); err != nil || !info.IsDir() {
		s.Errorf("%v %v", info, err)
	}
	s.bind("disk", local(dir))
	s.reads(filepath.Join(s.mount(pod(claim("disk", false)))["data"].Path, "file"), "kept")

	const unprocessed = "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: "
	s.bind("waiting", local(dir), func(c *v1.PersistentVolumeClaim, _ *v1.PersistentVolume) { c.Status.Phase = v1.ClaimPending })
	s.bind("other", local(dir), func(_ *v1.PersistentVolumeClaim, pv *v1.PersistentVolume) { pv.Spec.ClaimRef.UID = "else" })
	s.bind("raw", local(dir), func(_ *v1.PersistentVolumeClaim, pv *v1.PersistentVolume) {
		block := v1.PersistentVolumeBlock
		pv.Spec.VolumeMode = &block
	})
	s.bind("typed", host(file, v1.HostPathDirectory))
	s.bind("gone", local(dir+"/gone"))
	s.bind("file", local(file))
	s.bind("far", local(dir), there)
	s.bind("csi", v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "d"}})
	for name, want := range map[string]string{
		"waiting": unprocessed + "error processing PVC default/waiting: PVC is not bound",
		"other":   unprocessed + "error processing PVC default/other: found PV object pv-other but its pv.Spec.ClaimRef.UID else does not point to claim.UID uid-other",
		"raw":     unprocessed + "volume data has volumeMode Block, but is specified in volumeMounts",
		"typed":   `MountVolume.SetUp failed for volume "pv-typed" : hostPath type check failed: ` + file + ` is not a directory`,
		"gone":    `MountVolume.NewMounter initialization failed for volume "pv-gone" : path "` + dir + `/gone" does not exist`,
		"file":    `MountVolume.NewMounter initialization failed for volume "pv-file" : only directory and block device are supported`,
		"far":     `MountVolume.NodeAffinity check failed for volume "pv-far" : no matching NodeSelectorTerms`,
		"csi":     `MountVolume.SetUp failed for volume "pv-csi" : no volume plugin matched`,
	} {
		s.mustFail(pod(claim(name, false)), want)
	}
}
