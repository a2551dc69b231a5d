package core

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// warnings collects what a client is told of a pod that is allowed and yet likely a
// mistake.
type warnings []string

func (w *warnings) at(path *field.Path, text string) { *w = append(*w, path.String()+": "+text) }

func podWarnings(p, old *v1.Pod) []string {
	if old != nil {
		return nil
	}
	out := appArmorWarnings(p)
	if msgs := validation.IsDNS1123Label(p.Name); len(msgs) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
	}
	return append(out, specWarnings(&p.Spec, &p.ObjectMeta, nil)...)
}

// appArmorWarnings tells of annotations that preparePod has written to the field, or
// could not. One beside an equal field of its own is told of, too: by now they cannot
// be told apart.
func appArmorWarnings(p *v1.Pod) []string {
	var w warnings
	if p.Spec.OS != nil && p.Spec.OS.Name == v1.Windows {
		return nil
	}
	eachContainer(&p.Spec, func(c *v1.Container) {
		key := v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		text, ok := p.Annotations[key]
		if !ok {
			return
		}
		profile := appArmorProfile(text)
		var own *v1.AppArmorProfile
		if c.SecurityContext != nil {
			own = c.SecurityContext.AppArmorProfile
		}
		invalid := profile == nil || len(validateAppArmor(profile, nil)) > 0
		if own == nil && invalid || own != nil && !invalid && equality.Semantic.DeepEqual(own, profile) {
			w.at(field.NewPath("metadata", "annotations").Key(key), oldAppArmor)
		}
	})
	return w
}

// PodTemplateWarnings are the warnings of a template at path. They depend on nothing
// that old, which may be nil, already had.
func PodTemplateWarnings(t, _ *v1.PodTemplateSpec, path *field.Path) []string {
	if t == nil {
		return nil
	}
	return specWarnings(&t.Spec, &t.ObjectMeta, path)
}

// specWarnings tells of a spec in the order in which Kubernetes does. root is that
// of the template, nil for a pod.
func specWarnings(s *v1.PodSpec, meta *metav1.ObjectMeta, root *field.Path) []string {
	var w warnings
	spec, annotations := root.Child("spec"), root.Child("metadata", "annotations")
	w.placement(s, spec)
	for _, old := range []struct{ key, text string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := meta.Annotations[old.key]; ok {
			w.at(annotations.Key(old.key), old.text)
		}
	}
	w.volumes(s.Volumes, spec.Child("volumes"))
	w = append(w, overlapWarnings(s.Volumes)...)
	w.repeats(s, spec)
	overhead := func() *field.Path { return spec.Child("overhead") }
	w = fractional(w, s.Overhead, v1.ResourceMemory, overhead)
	w = fractional(w, s.Overhead, v1.ResourceEphemeralStorage, overhead)
	if s.SecurityContext == nil || s.SecurityContext.SeccompProfile == nil {
		w.oldSeccomp(meta, v1.SeccompPodAnnotationKey, annotations)
	}
	visitContainers(s, spec, func(c *v1.Container, at *field.Path) { w.container(c, s, meta, root, at) })
	w.ports(s, spec)
	w.portNames(s, spec)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.at(spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.podAffinity(s.Affinity, spec.Child("affinity"))
	if s.DNSConfig != nil {
		for i, server := range s.DNSConfig.Nameservers {
			w = append(w, validation.GetWarningsForIP(spec.Child("dnsConfig", "nameservers").Index(i), server)...)
		}
	}
	for i := range s.HostAliases {
		w = append(w, validation.GetWarningsForIP(spec.Child("hostAliases").Index(i).Child("ip"), s.HostAliases[i].IP)...)
	}
	return w
}

func (w *warnings) placement(s *v1.PodSpec, spec *field.Path) {
	for key := range s.NodeSelector {
		if text := NodeLabelWarning(key); text != "" {
			w.at(spec.Child("nodeSelector").Key(key), text)
		}
	}
	if s.Affinity != nil && s.Affinity.NodeAffinity != nil {
		n, at := s.Affinity.NodeAffinity, spec.Child("affinity", "nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i := range r.NodeSelectorTerms {
				*w = append(*w, nodeTermWarnings(&r.NodeSelectorTerms[i], false,
					at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))...)
			}
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			*w = append(*w, nodeTermWarnings(&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true,
				at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))...)
		}
	}
	for i := range s.TopologySpreadConstraints {
		t, at := &s.TopologySpreadConstraints[i], spec.Child("topologySpreadConstraints").Index(i)
		if text := NodeLabelWarning(t.TopologyKey); text != "" {
			w.at(at.Child("topologyKey"), t.TopologyKey+" is "+text)
		}
		if t.LabelSelector == nil {
			w.at(at.Child("labelSelector"), nullSelector)
		}
	}
}

const nullSelector = "a null labelSelector results in matching no pod"

func (w *warnings) volumes(list []v1.Volume, path *field.Path) {
	for i := range list {
		v, at := &list[i], path.Index(i)
		old := func(is bool, name, text string) {
			if is {
				w.at(at.Child(name), text)
			}
		}
		old(v.PhotonPersistentDisk != nil, "photonPersistentDisk", goneIn116)
		old(v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+")
		old(v.ScaleIO != nil, "scaleIO", goneIn122)
		old(v.Flocker != nil, "flocker", goneIn125)
		old(v.StorageOS != nil, "storageOS", goneIn125)
		old(v.Quobyte != nil, "quobyte", goneIn125)
		old(v.Glusterfs != nil, "glusterfs", goneIn126)
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			*w = append(*w, ClaimSpecWarnings(&v.Ephemeral.VolumeClaimTemplate.Spec, at.Child("ephemeral", "volumeClaimTemplate", "spec"))...)
		}
		old(v.CephFS != nil, "cephfs", goneIn131)
		old(v.RBD != nil, "rbd", goneIn131)
	}
}

// repeats tells of host aliases and pull secrets that stand there twice.
func (w *warnings) repeats(s *v1.PodSpec, spec *field.Path) {
	seen := map[string]bool{}
	for i, a := range s.HostAliases {
		if seen[a.IP] {
			w.at(spec.Child("hostAliases").Index(i).Child("ip"), fmt.Sprintf("duplicate ip %q", a.IP))
		}
		seen[a.IP] = true
	}
	clear(seen)
	for i, p := range s.ImagePullSecrets {
		if seen[p.Name] {
			w.at(spec.Child("imagePullSecrets").Index(i).Child("name"), fmt.Sprintf("duplicate name %q", p.Name))
		}
		seen[p.Name] = true
	}
	for i, p := range s.ImagePullSecrets {
		if p.Name == "" {
			w.at(spec.Child("imagePullSecrets").Index(i).Child("name"), fmt.Sprintf("invalid empty name %q", p.Name))
		}
	}
}

func (w *warnings) oldSeccomp(meta *metav1.ObjectMeta, key string, annotations *field.Path) {
	if _, ok := meta.Annotations[key]; ok {
		w.at(annotations.Key(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
}

const oldAppArmor = `deprecated since v1.30; use the "appArmorProfile" field instead`

func (w *warnings) container(c *v1.Container, s *v1.PodSpec, meta *metav1.ObjectMeta, root, path *field.Path) {
	sc := c.SecurityContext
	annotations := root.Child("metadata", "annotations")
	if sc == nil || sc.SeccompProfile == nil {
		w.oldSeccomp(meta, v1.SeccompContainerAnnotationKeyPrefix+c.Name, annotations)
	}
	// In a pod the annotation has been written to the field by now.
	key := v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
	if text, ok := meta.Annotations[key]; ok && root != nil && (sc == nil || sc.AppArmorProfile == nil) {
		var whole *v1.AppArmorProfile
		if s.SecurityContext != nil {
			whole = s.SecurityContext.AppArmorProfile
		}
		if whole == nil || !equality.Semantic.DeepEqual(whole, appArmorProfile(text)) {
			w.at(annotations.Key(key), oldAppArmor)
		}
	}
	limits := func() *field.Path { return path.Child("resources", "limits") }
	requests := func() *field.Path { return path.Child("resources", "requests") }
	*w = fractional(*w, c.Resources.Limits, v1.ResourceMemory, limits)
	*w = fractional(*w, c.Resources.Requests, v1.ResourceMemory, requests)
	*w = fractional(*w, c.Resources.Limits, v1.ResourceEphemeralStorage, limits)
	*w = fractional(*w, c.Resources.Requests, v1.ResourceEphemeralStorage, requests)
	if len(c.Env) < 2 {
		return
	}
	seen := make(map[string]bool, len(c.Env))
	for i, e := range c.Env {
		// A value that refers to the one before makes sense.
		ref := "$(" + e.Name + ")"
		if seen[e.Name] && (e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref)) {
			w.at(path.Child("env").Index(i), fmt.Sprintf("hides previous definition of %q, which may be dropped when using apply", e.Name))
		}
		seen[e.Name] = true
	}
}

// ports tells of ports of all containers that are in each other's way.
func (w *warnings) ports(s *v1.PodSpec, spec *field.Path) {
	type known struct {
		path *field.Path
		port v1.ContainerPort
	}
	all := map[string][]known{}
	visitContainers(s, spec, func(c *v1.Container, at *field.Path) {
		for i, p := range c.Ports {
			path := at.Child("ports").Index(i)
			if p.HostIP != "" && p.HostPort == 0 {
				w.at(path, fmt.Sprintf("hostIP set without hostPort: %+v", p))
			}
			key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
			for _, o := range all[key] {
				a, b := p.HostIP == "", o.port.HostIP == ""
				switch {
				case p.HostIP == o.port.HostIP && p.HostPort == o.port.HostPort:
					w.at(path, fmt.Sprintf("duplicate port definition with %s", o.path))
				case p.HostPort == 0 || o.port.HostPort == 0:
					w.at(path, fmt.Sprintf("overlapping port definition with %s", o.path))
				case p.HostPort == o.port.HostPort && a != b:
					w.at(path, fmt.Sprintf("dangerously ambiguous port definition with %s", o.path))
				}
			}
			all[key] = append(all[key], known{path, p})
		}
	})
}

func (w *warnings) portNames(s *v1.PodSpec, spec *field.Path) {
	seen := map[string]*field.Path{}
	visitContainers(s, spec, func(c *v1.Container, at *field.Path) {
		for i, p := range c.Ports {
			if p.Name == "" {
				continue
			}
			path := at.Child("ports").Index(i)
			if first := seen[p.Name]; first != nil {
				w.at(path, fmt.Sprintf("duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, first, first))
			} else {
				seen[p.Name] = path
			}
		}
	})
}

func (w *warnings) podAffinity(a *v1.Affinity, path *field.Path) {
	if a == nil {
		return
	}
	terms := func(must []v1.PodAffinityTerm, like []v1.WeightedPodAffinityTerm, at *field.Path) {
		for i := range must {
			if must[i].LabelSelector == nil {
				w.at(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), nullSelector)
			}
		}
		for i := range like {
			if like[i].PodAffinityTerm.LabelSelector == nil {
				w.at(at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), nullSelector)
			}
		}
	}
	if p := a.PodAffinity; p != nil {
		terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))
	}
}

// file is one that a volume puts into a pod, and what it comes from.
type file struct{ path, source string }

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

func keyFiles(items []v1.KeyToPath, source string) []file {
	var out []file
	for _, k := range items {
		out = append(out, file{k.Path, source})
	}
	return out
}

func downwardFiles(items []v1.DownwardAPIVolumeFile, source string) []file {
	var out []file
	for _, f := range items {
		out = append(out, file{f.Path, source})
	}
	return out
}

// overlapWarnings tells of files of one volume that are the same, or in a directory
// that another file is.
func overlapWarnings(volumes []v1.Volume) []string {
	var out []string
	for i := range volumes {
		v := &volumes[i]
		add := func(desc string, files []file) { out = append(out, overlaps(v.Name, desc, files)...) }
		if v.ConfigMap != nil {
			add(fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
		}
		if v.Secret != nil {
			add(fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
		}
		if v.DownwardAPI != nil {
			add("DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""))
		}
		if v.Projected == nil {
			continue
		}
		var files []file
		for _, s := range v.Projected.Sources {
			if s == (v1.VolumeProjection{}) {
				out = append(out, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				continue
			}
			files = append(files, projectedFiles(&s)...)
		}
		add("Projected", files)
	}
	return out
}

func projectedFiles(s *v1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil && s.ConfigMap.Items != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil && s.Secret.Items != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil && s.DownwardAPI.Items != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := ""
		if b := s.ClusterTrustBundle; b.Name != nil {
			name = *b.Name
		} else if b.SignerName != nil {
			name = *b.SignerName
		}
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	case s.PodCertificate != nil:
		var out []file
		for _, f := range []file{{s.PodCertificate.CertificateChainPath, "PodCertificate chain"},
			{s.PodCertificate.KeyPath, "PodCertificate key"}, {s.PodCertificate.CredentialBundlePath, "PodCertificate credential bundle"}} {
			if f.path != "" {
				out = append(out, f)
			}
		}
		return out
	}
	return nil
}

func overlaps(volume, desc string, files []file) []string {
	var out []string
	for i := range files {
		f := &files[i]
		f.path = strings.TrimRight(f.path, "/")
		if f.path == "" {
			continue
		}
		for _, o := range files[:i] {
			if o.path != "" && (strings.HasPrefix(o.path+"/", f.path+"/") || strings.HasPrefix(f.path+"/", o.path+"/")) {
				out = append(out, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, desc, f, o))
			}
		}
	}
	return out
}
