package volumetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"skiff.dev/skiff/volume"
)

// Tokens issues numbered tokens of an hour.
type Tokens struct {
	mu sync.Mutex
	n  int
}

// Token implements volume.TokenSource.
func (t *Tokens) Token(_ context.Context, ns, sa string, tr *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr.Spec.BoundObjectRef == nil {
		return nil, errors.New("a token that is bound to no pod")
	}
	t.n++
	tr.Status.Token = fmt.Sprintf("token-%d-%s/%s", t.n, ns, sa)
	tr.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Hour))
	return tr, nil
}

type suite struct {
	*testing.T
	api  client.Client
	vols *volume.Volumes
	dir  string
	m    volume.Mounter
}

// Run checks volumes over a Mounter.
func Run(t *testing.T, m volume.Mounter) {
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"empty", (*suite).empty}, {"config", (*suite).config}, {"items", (*suite).items}, {"missing", (*suite).missing},
		{"secret", (*suite).secret}, {"downward", (*suite).downward}, {"projected", (*suite).projected},
		{"hostpath", (*suite).hostPath}, {"subpath", (*suite).subPath}, {"unmount", (*suite).unmount}, {"fsgroup", (*suite).fsGroup}, {"claim", (*suite).claims},
	} {
		t.Run(c.name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			s := &suite{T: t, api: fake.NewClientBuilder().WithScheme(scheme).Build(), dir: t.TempDir(), m: m}
			s.vols = volume.New(volume.Options{Reader: s.api, Tokens: &Tokens{}, RootDir: s.dir, Mounter: m})
			t.Cleanup(func() {
				if err := s.vols.Unmount(context.Background(), "uid-1"); err != nil {
					t.Error(err)
				}
			})
			c.run(s)
		})
	}
}

func (s *suite) pod(vols ...v1.Volume) *v1.Pod {
	p := &v1.Pod{}
	p.Name, p.Namespace, p.UID = "web", "default", "uid-1"
	p.Labels = map[string]string{"app": "web"}
	p.Spec.ServiceAccountName = "default"
	p.Spec.Containers = []v1.Container{{Name: "app", Resources: v1.ResourceRequirements{Limits: v1.ResourceList{"cpu": resource.MustParse("1500m")}}}}
	p.Spec.Volumes = vols
	return p
}

func vol(name string, src v1.VolumeSource) v1.Volume { return v1.Volume{Name: name, VolumeSource: src} }

func (s *suite) mount(p *v1.Pod) map[string]volume.Mount {
	s.Helper()
	m, err := s.vols.Mount(s.Context(), p)
	if err != nil {
		s.Fatal(err)
	}
	return m
}

func (s *suite) mustFail(p *v1.Pod, want string) {
	s.Helper()
	_, err := s.vols.Mount(s.Context(), p)
	if err == nil || err.Error() != want {
		s.Errorf("got %v\nwant %s", err, want)
	}
}

func (s *suite) reads(path, want string) {
	s.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		s.Errorf("%s: %q, %v; want %q", path, b, err, want)
	}
}

func (s *suite) create(o client.Object) {
	s.Helper()
	if err := s.api.Create(s.Context(), o); err != nil {
		s.Fatal(err)
	}
}

func configMap(data map[string]string) *v1.ConfigMap {
	c := &v1.ConfigMap{Data: data}
	c.Name, c.Namespace = "cfg", "default"
	return c
}

func configSource(o *bool, items ...v1.KeyToPath) v1.VolumeSource {
	return v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cfg"}, Optional: o, Items: items}}
}

func (s *suite) empty() {
	limit := resource.MustParse("1Mi")
	m := s.mount(s.pod(
		vol("disk", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}),
		vol("mem", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: &limit}}),
	))
	if info, err := os.Stat(m["disk"].Path); err != nil || info.Mode().Perm() != 0o777 {
		s.Errorf("%v, %v", info, err)
	}
	if is, err := s.m.IsMount(m["mem"].Path); err != nil || !is {
		s.Errorf("the volume of memory is not mounted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(m["disk"].Path, "f"), []byte("kept"), 0o644); err != nil {
		s.Fatal(err)
	}
	// What the pod does to owners and modes stays.
	if err := os.Chmod(m["disk"].Path, 0o700); err != nil {
		s.Fatal(err)
	}
	again := s.mount(s.pod(vol("disk", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})))
	if info, err := os.Stat(again["disk"].Path); err != nil || info.Mode().Perm() != 0o700 {
		s.Errorf("%v, %v", info, err)
	}
	s.reads(filepath.Join(again["disk"].Path, "f"), "kept")
}

func (s *suite) config() {
	cm := configMap(map[string]string{"a": "1", "b": "2"})
	s.create(cm)
	p := s.pod(vol("c", configSource(nil)))
	m := s.mount(p)["c"]
	if !m.ReadOnly {
		s.Error("not read-only")
	}
	s.reads(filepath.Join(m.Path, "a"), "1")
	first, _ := os.Readlink(filepath.Join(m.Path, "..data"))
	if l, _ := os.Readlink(filepath.Join(m.Path, "a")); l != "..data/a" {
		s.Errorf("a leads to %q", l)
	}
	s.mount(p)
	if same, _ := os.Readlink(filepath.Join(m.Path, "..data")); same != first {
		s.Error("an unchanged volume was written anew")
	}
	open, err := os.Open(filepath.Join(m.Path, "a"))
	if err != nil {
		s.Fatal(err)
	}
	defer open.Close()
	cm.Data = map[string]string{"a": "new", "c": "3"}
	if err := s.api.Update(s.Context(), cm); err != nil {
		s.Fatal(err)
	}
	s.mount(p)
	s.reads(filepath.Join(m.Path, "a"), "new")
	s.reads(filepath.Join(m.Path, "c"), "3")
	if _, err := os.Lstat(filepath.Join(m.Path, "b")); !errors.Is(err, os.ErrNotExist) {
		s.Errorf("b is still there: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(m.Path, first)); !errors.Is(err, os.ErrNotExist) {
		s.Errorf("the old directory is still there: %v", err)
	}
	old := make([]byte, 8)
	if n, _ := open.Read(old); string(old[:n]) != "1" {
		s.Errorf("who had the file open reads %q", old[:n])
	}
}

func (s *suite) items() {
	s.create(configMap(map[string]string{"a": "1", "b": "2"}))
	mode := int32(0o400)
	m := s.mount(s.pod(vol("c", configSource(nil, v1.KeyToPath{Key: "a", Path: "x/y", Mode: &mode}))))["c"]
	path := filepath.Join(m.Path, "x", "y")
	s.reads(path, "1")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o400 {
		s.Errorf("%v, %v", info.Mode(), err)
	}
	s.mustFail(s.pod(vol("c", configSource(nil, v1.KeyToPath{Key: "nope", Path: "z"}))),
		`MountVolume.SetUp failed for volume "c" : configmap references non-existent config key: nope`)
	s.mustFail(s.pod(vol("c", configSource(nil, v1.KeyToPath{Key: "a", Path: "../z"}))),
		`MountVolume.SetUp failed for volume "c" : invalid path: "../z"`)
}

func (s *suite) missing() {
	yes := true
	p := s.pod(vol("x", configSource(nil)))
	_, err := s.vols.Mount(s.Context(), p)
	if err == nil || !strings.HasPrefix(err.Error(), `MountVolume.SetUp failed for volume "x" : configmaps "cfg" not found`) &&
		!strings.HasPrefix(err.Error(), `MountVolume.SetUp failed for volume "x" : configmap "cfg" not found`) {
		s.Errorf("got %v", err)
	}
	m := s.mount(s.pod(vol("x", configSource(&yes))))
	if entries, err := os.ReadDir(m["x"].Path); err != nil || len(entries) != 2 {
		// ..data and what it leads to.
		s.Errorf("%v, %v", entries, err)
	}
	s.mustFail(s.pod(vol("p", claim("c", false))), `Unable to attach or mount volumes: unmounted volumes=[p], unattached volumes=[], failed to process volumes=[p]: `+
		`error processing PVC default/c: failed to fetch PVC from API server: persistentvolumeclaims "c" not found`)
}

func (s *suite) secret() {
	sec := &v1.Secret{Data: map[string][]byte{"k": []byte("v")}}
	sec.Name, sec.Namespace = "sec", "default"
	s.create(sec)
	m := s.mount(s.pod(vol("s", v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "sec"}})))["s"]
	s.reads(filepath.Join(m.Path, "k"), "v")
	if is, err := s.m.IsMount(m.Path); err != nil || !is {
		s.Errorf("a secret outside memory: %v", err)
	}
}

func (s *suite) downward() {
	m := s.mount(s.pod(vol("d", v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{
		{Path: "labels", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
		{Path: "cpu", ResourceFieldRef: &v1.ResourceFieldSelector{ContainerName: "app", Resource: "limits.cpu"}},
	}}})))["d"]
	s.reads(filepath.Join(m.Path, "labels"), `app="web"`)
	s.reads(filepath.Join(m.Path, "cpu"), "2")
}

func (s *suite) projected() {
	s.create(configMap(map[string]string{"ca.crt": "pem"}))
	p := s.pod(vol("kube", v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
		{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token"}},
		{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "cfg"}}},
		{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
	}}}))
	m := s.mount(p)["kube"]
	s.reads(filepath.Join(m.Path, "token"), "token-1-default/default")
	s.reads(filepath.Join(m.Path, "ca.crt"), "pem")
	s.reads(filepath.Join(m.Path, "namespace"), "default")
	s.mount(p)
	s.reads(filepath.Join(m.Path, "token"), "token-1-default/default")
}

func (s *suite) hostPath() {
	dir := s.TempDir()
	f := filepath.Join(dir, "file")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		s.Fatal(err)
	}
	with := func(path string, t v1.HostPathType) *v1.Pod {
		return s.pod(vol("h", v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: &t}}))
	}
	for _, p := range []*v1.Pod{with(dir, v1.HostPathDirectory), with(f, v1.HostPathFile), with(dir+"/new", v1.HostPathDirectoryOrCreate),
		with(dir+"/made", v1.HostPathFileOrCreate), with("/dev/null", v1.HostPathCharDev), with(dir+"/any", v1.HostPathUnset)} {
		m := s.mount(p)["h"]
		if _, err := os.Stat(m.Path); err != nil {
			s.Error(err)
		}
	}
	s.mustFail(with(f, v1.HostPathDirectory), `MountVolume.SetUp failed for volume "h" : hostPath type check failed: `+f+` is not a directory`)
	s.mustFail(with(dir, v1.HostPathSocket), `MountVolume.SetUp failed for volume "h" : hostPath type check failed: `+dir+` is not a socket file`)
}

func (s *suite) subPath() {
	p := s.pod(vol("e", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}))
	c := &p.Spec.Containers[0]
	c.VolumeMounts = []v1.VolumeMount{{Name: "e", MountPath: "/x", SubPath: "a/b"}}
	m := s.mount(p)["e"]
	path, err := s.vols.SubPath(s.Context(), p, c, 0, m, "a/b")
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "f"), []byte("x"), 0o644); err != nil {
		s.Fatal(err)
	}
	s.reads(filepath.Join(m.Path, "a", "b", "f"), "x")
	// A link out of the volume leads nowhere, or at least not out.
	if err := os.Symlink("/etc", filepath.Join(m.Path, "evil")); err != nil {
		s.Fatal(err)
	}
	if path, err := s.vols.SubPath(s.Context(), p, c, 0, m, "evil"); err == nil {
		if _, err := os.Stat(filepath.Join(path, "passwd")); err == nil {
			s.Errorf("%s shows the machine's /etc", path)
		}
	}
	if _, err := s.vols.SubPath(s.Context(), p, c, 0, m, "../.."); err == nil {
		s.Error(".. was followed")
	}
}

func (s *suite) unmount() {
	p := s.pod(vol("e", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}))
	path := s.mount(p)["e"].Path
	for range 2 {
		if err := s.vols.Unmount(s.Context(), "uid-1"); err != nil {
			s.Fatal(err)
		}
	}
	if is, _ := s.m.IsMount(path); is {
		s.Error("still mounted")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		s.Errorf("still there: %v", err)
	}
}

func (s *suite) fsGroup() {
	s.create(configMap(map[string]string{"a": "1"}))
	p := s.pod(vol("e", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}), vol("c", configSource(nil)))
	g := int64(2000)
	p.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &g}
	m := s.mount(p)
	info, err := os.Stat(m["e"].Path)
	if err != nil || info.Mode()&os.ModeSetgid == 0 {
		s.Errorf("%v, %v", info.Mode(), err)
	}
	s.reads(filepath.Join(m["c"].Path, "a"), "1")
}
