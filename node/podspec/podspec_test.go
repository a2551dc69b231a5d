package podspec

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/volume"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "2", "EMPTY": ""}
	for in, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "$(A)-$(B)": "1-2", "$$(A)": "$(A)", "$$": "$", "$": "$",
		"$A": "$A", "$(NO)": "$(NO)", "$(": "$(", "$(A": "$(A", "$(EMPTY)": "", "$$$(A)": "$1", "$(A)$": "1$",
		"$($(A))": "$($(A))", "()": "()", "$(A B)": "$(A B)",
	} {
		if got := Expand(in, func(n string) (string, bool) { v, ok := vars[n]; return v, ok }); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(A)", "$$(A)", "$(", "a$", "$$$(A)$(B)", "$($(A))"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, in, value string) {
		got := Expand(in, func(string) (string, bool) { return "", false })
		if !strings.Contains(in, "$$") && got != in {
			t.Errorf("%q became %q without anything to replace", in, got)
		}
		if !strings.Contains(in, "$") && Expand(in, func(string) (string, bool) { return value, true }) != in {
			t.Errorf("%q changed", in)
		}
	})
}

func fixtures() (*v1.Pod, *Sources) {
	pod := &v1.Pod{}
	pod.Name, pod.Namespace, pod.UID = "web", "ns", "uid-1"
	pod.Labels = map[string]string{"app": "x"}
	pod.Spec.Containers = []v1.Container{{Name: "app"}}
	notFound := func(r, n string) error { return apierrors.NewNotFound(schema.GroupResource{Resource: r}, n) }
	src := &Sources{
		ConfigMap: func(n string) (*v1.ConfigMap, error) {
			if n != "cfg" {
				return nil, notFound("configmaps", n)
			}
			return &v1.ConfigMap{Data: map[string]string{"K": "cv", "a=b": "left out"}}, nil
		},
		Secret: func(n string) (*v1.Secret, error) {
			if n != "sec" {
				return nil, notFound("secrets", n)
			}
			return &v1.Secret{Data: map[string][]byte{"S": []byte("sv")}}, nil
		},
		IPs: []string{"10.0.0.5"}, HostIPs: []string{"192.0.2.1"},
		Allocatable: v1.ResourceList{"cpu": resource.MustParse("4")},
	}
	return pod, src
}

func TestEnv(t *testing.T) {
	pod, src := fixtures()
	yes := true
	c := &v1.Container{Name: "app",
		EnvFrom: []v1.EnvFromSource{
			{Prefix: "P_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "cfg"}}},
			{SecretRef: &v1.SecretEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "none"}, Optional: &yes}},
		},
		Env: []v1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)-$(P_K)-$(NO)"},
			{Name: "IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "L", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "CPU", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "S", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "sec"}, Key: "S"}}},
			{Name: "O", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "sec"}, Key: "no", Optional: &yes}}},
		},
	}
	e, err := MakeEnv(pod, c, src)
	if err != nil {
		t.Fatal(err)
	}
	want := "P_K=cv A=1 B=1-cv-$(NO) IP=10.0.0.5 L=x CPU=4 S=sv"
	if got := strings.Join(e.List(), " "); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestEnvErrors(t *testing.T) {
	pod, src := fixtures()
	for want, from := range map[string]*v1.EnvVarSource{
		"couldn't find key no in ConfigMap ns/cfg": {ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "cfg"}, Key: "no"}},
		"couldn't find key no in Secret ns/sec":    {SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "sec"}, Key: "no"}},
		`configmaps "gone" not found`:              {ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "gone"}, Key: "no"}},
		"unsupported fieldPath: spec.x":            {FieldRef: &v1.ObjectFieldSelector{FieldPath: "spec.x"}},
	} {
		_, err := MakeEnv(pod, &v1.Container{Env: []v1.EnvVar{{Name: "A", ValueFrom: from}}}, src)
		var ce *ConfigError
		if err == nil || err.Error() != want || !errors.As(err, &ce) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestServiceEnv(t *testing.T) {
	svc := func(ns, name, ip string, ports ...v1.ServicePort) *v1.Service {
		s := &v1.Service{Spec: v1.ServiceSpec{ClusterIP: ip, Ports: ports}}
		s.Namespace, s.Name = ns, name
		return s
	}
	services := []*v1.Service{
		svc("default", "kubernetes", "10.96.0.1", v1.ServicePort{Name: "https", Port: 443, Protocol: v1.ProtocolTCP}),
		svc("ns", "my-db", "10.96.0.7", v1.ServicePort{Port: 5432}),
		svc("ns", "headless", "None", v1.ServicePort{Port: 1}),
		svc("other", "x", "10.96.0.9", v1.ServicePort{Port: 1}),
	}
	pod := &v1.Pod{}
	pod.Namespace = "ns"
	got := strings.Join(ServiceEnv(pod, services).List(), "\n")
	want := `KUBERNETES_SERVICE_HOST=10.96.0.1
KUBERNETES_SERVICE_PORT=443
KUBERNETES_SERVICE_PORT_HTTPS=443
KUBERNETES_PORT=tcp://10.96.0.1:443
KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
KUBERNETES_PORT_443_TCP_PROTO=tcp
KUBERNETES_PORT_443_TCP_PORT=443
KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
MY_DB_SERVICE_HOST=10.96.0.7
MY_DB_SERVICE_PORT=5432
MY_DB_PORT=tcp://10.96.0.7:5432
MY_DB_PORT_5432_TCP=tcp://10.96.0.7:5432
MY_DB_PORT_5432_TCP_PROTO=tcp
MY_DB_PORT_5432_TCP_PORT=5432
MY_DB_PORT_5432_TCP_ADDR=10.96.0.7`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	no := false
	pod.Spec.EnableServiceLinks = &no
	if n := len(ServiceEnv(pod, services).Names); n != 8 {
		t.Errorf("%d variables without links", n)
	}
}

func TestResolv(t *testing.T) {
	host := ParseResolv([]byte("# c\nnameserver 1.1.1.1\nsearch corp.example.\noptions timeout:1\n"))
	pod := &v1.Pod{}
	pod.Namespace = "ns"
	two := "2"
	for _, c := range []struct {
		policy v1.DNSPolicy
		host   bool
		config *v1.PodDNSConfig
		want   string
	}{
		{v1.DNSClusterFirst, false, nil, "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"},
		{v1.DNSClusterFirst, true, nil, "search corp.example\nnameserver 1.1.1.1\noptions timeout:1\n"},
		{v1.DNSClusterFirstWithHostNet, true, nil, "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"},
		{v1.DNSDefault, false, nil, "search corp.example\nnameserver 1.1.1.1\noptions timeout:1\n"},
		{v1.DNSNone, false, &v1.PodDNSConfig{Nameservers: []string{"9.9.9.9"}, Searches: []string{"a"}, Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}},
			"search a\nnameserver 9.9.9.9\noptions ndots:2 edns0\n"},
		{v1.DNSClusterFirst, false, &v1.PodDNSConfig{Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}}},
			"search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:2\n"},
	} {
		pod.Spec.DNSPolicy, pod.Spec.HostNetwork, pod.Spec.DNSConfig = c.policy, c.host, c.config
		if got := string(PodResolv(pod, host, []string{"10.96.0.10"}, "cluster.local").Render()); got != c.want {
			t.Errorf("%s host=%v:\n%s\nwant\n%s", c.policy, c.host, got, c.want)
		}
	}
}

func FuzzParseResolv(f *testing.F) {
	for _, s := range []string{"nameserver 1.1.1.1", "search a b\ndomain c", "options x:1 x:1", "search", "nameserver\n;x", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := ParseResolv(b)
		// What is written reads back the same.
		if again := ParseResolv(r.Render()); !reflect.DeepEqual(again.Servers, r.Servers) || !reflect.DeepEqual(again.Options, r.Options) {
			t.Errorf("%+v became %+v", r, again)
		}
	})
}

func TestHosts(t *testing.T) {
	pod := &v1.Pod{}
	pod.Spec.HostAliases = []v1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a", "b"}}}
	got := string(Hosts(pod, nil, []string{"10.0.0.5"}, "web", "sub.ns.svc.cluster.local"))
	want := "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n" +
		"fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n10.0.0.5\tweb.sub.ns.svc.cluster.local\tweb\n" +
		"\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestResources(t *testing.T) {
	r := &v1.ResourceRequirements{
		Requests: v1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("64Mi")},
		Limits:   v1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("128Mi"), "hugepages-2Mi": resource.MustParse("4Mi")},
	}
	got := ContainerResources(r)
	want := engine.Resources{CPUShares: 256, CPUQuota: 50000, CPUPeriod: 100000, Memory: 128 << 20, MemorySwap: 128 << 20, HugePages: map[string]int64{"2MB": 4 << 20}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if s := ContainerResources(&v1.ResourceRequirements{}).CPUShares; s != 2 {
		t.Errorf("shares %d without a request", s)
	}
	pod := &v1.Pod{}
	pod.UID = "u"
	pod.Spec.Containers = []v1.Container{{Resources: *r}, {}}
	if q := QoS(pod); q != v1.PodQOSBurstable {
		t.Errorf("QoS %s", q)
	}
	if p := CgroupParent(pod); p != "kubepods/burstable/podu" {
		t.Errorf("parent %s", p)
	}
	if p := PodResources(pod); p.Memory != 0 || p.CPUQuota != 0 || p.CPUShares != 256 {
		t.Errorf("a pod with an unlimited container got %+v", p)
	}
	pod.Spec.Containers = pod.Spec.Containers[:1]
	if p := PodResources(pod); p.Memory != 128<<20 || p.CPUQuota != 50000 {
		t.Errorf("got %+v", p)
	}
	if s := OOMScore(pod, &pod.Spec.Containers[0], lifecycle.Regular, 1<<30); s != 938 {
		t.Errorf("score %d", s)
	}
}

func TestIdentity(t *testing.T) {
	yes := true
	id := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name, image string
		pod         *v1.PodSecurityContext
		container   *v1.SecurityContext
		user, err   string
	}{
		{"nothing", "", nil, nil, "", ""},
		{"pod's user", "", &v1.PodSecurityContext{RunAsUser: id(5)}, nil, "5", ""},
		{"container's user", "", &v1.PodSecurityContext{RunAsUser: id(5), RunAsGroup: id(7)}, &v1.SecurityContext{RunAsUser: id(6)}, "6:7", ""},
		{"group alone", "app", nil, &v1.SecurityContext{RunAsGroup: id(7)}, "app:7", ""},
		{"root image", "", nil, &v1.SecurityContext{RunAsNonRoot: &yes}, "", `container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: app)`},
		{"named user", "app", nil, &v1.SecurityContext{RunAsNonRoot: &yes}, "", `container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: "p_ns(u)", container: app)`},
		{"user 0", "", nil, &v1.SecurityContext{RunAsNonRoot: &yes, RunAsUser: id(0)}, "", `container's runAsUser breaks non-root policy (pod: "p_ns(u)", container: app)`},
		{"number", "12", nil, &v1.SecurityContext{RunAsNonRoot: &yes}, "", ""},
	} {
		pod := &v1.Pod{}
		pod.Name, pod.Namespace, pod.UID, pod.Spec.SecurityContext = "p", "ns", "u", c.pod
		user, _, err := identity(pod, &v1.Container{Name: "app", SecurityContext: c.container}, c.image)
		msg := ""
		if err != nil {
			msg = err.Error()
		}
		if user != c.user || msg != c.err {
			t.Errorf("%s: %q, %q", c.name, user, msg)
		}
	}
}

func TestSpec(t *testing.T) {
	pod, src := fixtures()
	no := false
	pod.Spec.Containers[0] = v1.Container{
		Name: "app", Command: []string{"run", "$(A)"}, Args: []string{"$(B)"}, Env: []v1.EnvVar{{Name: "A", Value: "x"}},
		VolumeMounts:           []v1.VolumeMount{{Name: "v", MountPath: "/data", SubPathExpr: "$(A)/y"}, {Name: "v", MountPath: "/etc/hosts"}},
		SecurityContext:        &v1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &v1.Capabilities{Add: []v1.Capability{"CAP_NET_ADMIN"}, Drop: []v1.Capability{"ALL"}}},
		TerminationMessagePath: "/dev/termination-log",
	}
	sub := ""
	b := Build{Pod: pod, Container: &pod.Spec.Containers[0], Attempt: 2, Sandbox: "sb", Sources: src, Image: "sha256:x",
		Volumes: map[string]volume.Mount{"v": {Path: "/v", ReadOnly: true}}, HostsFile: "/h", ResolvFile: "/r", TerminationFile: "/t",
		SubPath: func(_ int, _ volume.Mount, s string) (string, error) { sub = s; return "/bound", nil }}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	if spec.Name != "k8s_app_web_ns_uid-1_2" || strings.Join(spec.Command, " ") != "run x" || spec.Args[0] != "$(B)" {
		t.Errorf("%+v", spec)
	}
	if sub != "x/y" || !spec.NoNewPrivileges || spec.CapAdd[0] != "NET_ADMIN" || spec.CapDrop[0] != "ALL" {
		t.Errorf("sub %q, %+v", sub, spec)
	}
	var targets []string
	for _, m := range spec.Mounts {
		targets = append(targets, m.Source+"="+m.Target)
	}
	if got := strings.Join(targets, " "); got != "/bound=/data /v=/etc/hosts /r=/etc/resolv.conf /t=/dev/termination-log" {
		t.Errorf("mounts %s", got)
	}
	if !spec.Mounts[0].ReadOnly {
		t.Error("a read-only volume is mounted writable")
	}
	b.Volumes = nil
	if _, err := b.Spec(); err == nil {
		t.Error("a mount without a volume was accepted")
	}
}
