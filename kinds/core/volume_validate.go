package core

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

const (
	oneVolumeType   = "may not specify more than 1 volume type"
	badMode         = "must be a number between 0 and 0777 (octal), both inclusive"
	duplicatedPaths = "conflicting duplicate paths"
)

// checkVolumes judges spec.volumes and remembers the valid ones for the mounts.
func (c *podCheck) checkVolumes(path *field.Path) {
	list := c.spec.Volumes
	if len(list) == 0 {
		return
	}
	podName := ""
	if c.meta != nil {
		podName = c.meta.Name
	}
	created := map[string]bool{}
	for i := range list {
		if podName != "" && list[i].Ephemeral != nil {
			created[podName+"-"+list[i].Name] = true
		}
	}
	c.volumes = make(map[string]*v1.VolumeSource, len(list))
	for i := range list {
		v, at := &list[i], path.Index(i)
		before := len(c.List)
		c.volumeSource(&v.VolumeSource, v.Name, podName, at)
		if v.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.Add(rules.DNSLabelField(v.Name, at.Child("name"))...)
		}
		if c.volumes[v.Name] != nil {
			c.Duplicate(at.Child("name"), v.Name)
		}
		if len(c.List) == before {
			c.volumes[v.Name] = &v.VolumeSource
		}
		if claim := v.PersistentVolumeClaim; claim != nil && created[claim.ClaimName] {
			c.Invalid(at.Child("persistentVolumeClaim", "claimName"), claim.ClaimName, "must not reference a PVC that gets created for an ephemeral volume")
		}
	}
}

// sourceCheck is one kind of source: is it there, and what is wrong with it.
type sourceCheck struct {
	set bool
	// name is that of the field in "may not specify more than 1 volume type", at
	// that in other errors where it differs.
	name, at string
	check    func(path *field.Path)
	// beside says that the source is judged even beside another one.
	beside bool
}

// oneSource wants one source of many; of several the first is judged. It tells
// whether there was one.
func oneSource(l *rules.List, path *field.Path, detail string, sources []sourceCheck) bool {
	found := false
	for i := range sources {
		s := &sources[i]
		switch {
		case !s.set:
		case found && !s.beside:
			l.Forbidden(path.Child(s.name), detail)
		default:
			found = true
			s.check(path.Child(rules.Or(s.at, s.name)))
		}
	}
	return found
}

// volumeSource judges a volume's source, in the order that Kubernetes looks.
func (c *podCheck) volumeSource(s *v1.VolumeSource, name, podName string, path *field.Path) {
	l := &c.List
	// What nearly all volumes are needs no list of all that they may be.
	switch {
	case *s == v1.VolumeSource{EmptyDir: s.EmptyDir} && s.EmptyDir != nil:
		c.emptyDir(s.EmptyDir, path)
		return
	case *s == v1.VolumeSource{Projected: s.Projected} && s.Projected != nil:
		c.projected(s.Projected, path.Child("projected"))
		return
	}
	if s.EmptyDir != nil {
		c.emptyDir(s.EmptyDir, path)
	}
	sources := append([]sourceCheck{{set: s.EmptyDir != nil, check: func(*field.Path) {}}}, earlySources(l, s)...)
	sources = append(sources, c.middleSources(s)...)
	sources = append(sources, c.lateSources(s, name, podName, path)...)
	if !oneSource(l, path, oneVolumeType, sources) {
		l.Required(path, "must specify a volume type")
	}
	if i := s.ISCSI; i != nil && i.InitiatorName != nil && len(name+":"+i.TargetPortal) > 64 {
		l.Invalid(path.Child("name"), name, iscsiTooLong)
	}
}

func (c *podCheck) emptyDir(e *v1.EmptyDirVolumeSource, path *field.Path) {
	if e.SizeLimit != nil && e.SizeLimit.Sign() < 0 {
		c.Forbidden(path.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")
	}
}

// earlySources are those from hostPath to quobyte.
func earlySources(l *rules.List, s *v1.VolumeSource) []sourceCheck {
	return []sourceCheck{
		{set: s.HostPath != nil, name: "hostPath", check: func(p *field.Path) { hostPath(l, s.HostPath, p) }},
		{set: s.GitRepo != nil, name: "gitRepo", check: func(p *field.Path) {
			l.Need(p, "repository", s.GitRepo.Repository)
			l.Add(rules.RelativePath(s.GitRepo.Directory, p.Child("directory"))...)
		}},
		{set: s.GCEPersistentDisk != nil, name: "gcePersistentDisk", at: "persistentDisk", check: func(p *field.Path) { gceDisk(l, s.GCEPersistentDisk, p) }},
		{set: s.AWSElasticBlockStore != nil, name: "awsElasticBlockStore", check: func(p *field.Path) { awsStore(l, s.AWSElasticBlockStore, p) }},
		{set: s.Secret != nil, name: "secret", check: func(p *field.Path) {
			l.Need(p, "secretName", s.Secret.SecretName)
			mode(l, s.Secret.DefaultMode, p.Child("defaultMode"))
			keyPaths(l, s.Secret.Items, p.Child("items"), nil)
		}},
		{set: s.NFS != nil, name: "nfs", check: func(p *field.Path) { nfs(l, s.NFS, p) }},
		{set: s.ISCSI != nil, name: "iscsi", check: func(p *field.Path) { iscsi(l, s.ISCSI, p) }},
		{set: s.Glusterfs != nil, name: "glusterfs", check: func(p *field.Path) {
			l.Need(p, "endpoints", s.Glusterfs.EndpointsName)
			l.Need(p, "path", s.Glusterfs.Path)
		}},
		{set: s.Flocker != nil, name: "flocker", check: func(p *field.Path) { flocker(l, s.Flocker, p) }},
		{set: s.PersistentVolumeClaim != nil, name: "persistentVolumeClaim", check: func(p *field.Path) {
			l.Need(p, "claimName", s.PersistentVolumeClaim.ClaimName)
		}},
		{set: s.RBD != nil, name: "rbd", check: func(p *field.Path) { rbd(l, s.RBD.CephMonitors, s.RBD.RBDImage, p) }},
		{set: s.Cinder != nil, name: "cinder", check: func(p *field.Path) {
			l.Need(p, "volumeID", s.Cinder.VolumeID)
			if s.Cinder.SecretRef != nil {
				l.Need(p.Child("secretRef"), "name", s.Cinder.SecretRef.Name)
			}
		}},
		{set: s.CephFS != nil, name: "cephFS", at: "cephfs", check: func(p *field.Path) { monitors(l, s.CephFS.Monitors, p) }},
		{set: s.Quobyte != nil, name: "quobyte", check: func(p *field.Path) { quobyte(l, s.Quobyte, p) }},
	}
}

// middleSources are those from downwardAPI to storageos.
func (c *podCheck) middleSources(s *v1.VolumeSource) []sourceCheck {
	l := &c.List
	return []sourceCheck{
		{set: s.DownwardAPI != nil, name: "downwarAPI", at: "downwardAPI", check: func(p *field.Path) {
			mode(l, s.DownwardAPI.DefaultMode, p.Child("defaultMode"))
			for i := range s.DownwardAPI.Items {
				c.downwardFile(&s.DownwardAPI.Items[i], p)
			}
		}},
		{set: s.FC != nil, name: "fc", check: func(p *field.Path) { fibreChannel(l, s.FC, p) }},
		{set: s.FlexVolume != nil, name: "flexVolume", check: func(p *field.Path) { flex(l, s.FlexVolume.Driver, s.FlexVolume.Options, p) }},
		{set: s.ConfigMap != nil, name: "configMap", check: func(p *field.Path) {
			l.Need(p, "name", s.ConfigMap.Name)
			mode(l, s.ConfigMap.DefaultMode, p.Child("defaultMode"))
			keyPaths(l, s.ConfigMap.Items, p.Child("items"), nil)
		}},
		{set: s.AzureFile != nil, name: "azureFile", check: func(p *field.Path) {
			l.Need(p, "secretName", s.AzureFile.SecretName)
			l.Need(p, "shareName", s.AzureFile.ShareName)
		}},
		{set: s.VsphereVolume != nil, name: "vsphereVolume", check: func(p *field.Path) { l.Need(p, "volumePath", s.VsphereVolume.VolumePath) }},
		{set: s.PhotonPersistentDisk != nil, name: "photonPersistentDisk", check: func(p *field.Path) { l.Need(p, "pdID", s.PhotonPersistentDisk.PdID) }},
		{set: s.PortworxVolume != nil, name: "portworxVolume", check: func(p *field.Path) { l.Need(p, "volumeID", s.PortworxVolume.VolumeID) }},
		{set: s.AzureDisk != nil, name: "azureDisk", check: func(p *field.Path) { azureDisk(l, s.AzureDisk, p) }},
		{set: s.StorageOS != nil, name: "storageos", check: func(p *field.Path) {
			storageOS(l, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, p)
			if s.StorageOS.SecretRef != nil {
				l.Need(p.Child("secretRef"), "name", s.StorageOS.SecretRef.Name)
			}
		}},
	}
}

// lateSources are projected volumes and those of drivers and images.
func (c *podCheck) lateSources(s *v1.VolumeSource, name, podName string, path *field.Path) []sourceCheck {
	l := &c.List
	return []sourceCheck{
		{set: s.Projected != nil, name: "projected", check: func(p *field.Path) { c.projected(s.Projected, p) }},
		{set: s.ScaleIO != nil, name: "scaleIO", check: func(p *field.Path) {
			l.Need(p, "gateway", s.ScaleIO.Gateway)
			l.Need(p, "system", s.ScaleIO.System)
			l.Need(p, "volumeName", s.ScaleIO.VolumeName)
		}},
		{set: s.CSI != nil, name: "csi", check: func(p *field.Path) {
			csiDriver(l, s.CSI.Driver, p.Child("driver"))
			if ref := s.CSI.NodePublishSecretRef; ref != nil {
				if ref.Name == "" {
					l.Required(p.Child("nodePublishSecretRef", "name"), "")
				} else {
					l.Name(p.Child("name"), ref.Name, rules.DNSSubdomain)
				}
			}
		}},
		{set: s.Ephemeral != nil, name: "ephemeral", check: func(p *field.Path) {
			c.ephemeralVolume(s.Ephemeral, p)
			if podName == "" || name == "" {
				return
			}
			claim := podName + "-" + name
			for _, msg := range rules.DNSSubdomain(claim, false) {
				l.Invalid(path.Child("name"), name, fmt.Sprintf("PVC name %q: %v", claim, msg))
			}
		}},
		{set: s.Image != nil, name: "image", check: func(p *field.Path) {
			if c.isPod && s.Image.Reference == "" {
				l.Required(p.Child("reference"), "")
			}
			rules.SupportedOrRequired(l, p.Child("pullPolicy"), s.Image.PullPolicy, v1.PullAlways, v1.PullIfNotPresent, v1.PullNever)
		}},
	}
}

func (c *podCheck) ephemeralVolume(e *v1.EphemeralVolumeSource, path *field.Path) {
	at := path.Child("volumeClaimTemplate")
	if e.VolumeClaimTemplate == nil {
		c.Required(at, "")
		return
	}
	c.Add(ValidateClaimTemplate(e.VolumeClaimTemplate, at)...)
}

func mode(l *rules.List, m *int32, path *field.Path) {
	if m != nil && (*m > 0o777 || *m < 0) {
		l.Invalid(path, *m, badMode)
	}
}

// keyPaths judges the files of keys; each, if not nil, is told the path of one.
func keyPaths(l *rules.List, items []v1.KeyToPath, path *field.Path, each func(file string)) {
	for i := range items {
		k, at := &items[i], path.Index(i)
		l.Need(at, "key", k.Key)
		l.Need(at, "path", k.Path)
		l.Add(rules.FilePath(k.Path, at.Child("path"))...)
		mode(l, k.Mode, at.Child("mode"))
		if each != nil {
			each(k.Path)
		}
	}
}

func (c *podCheck) downwardFile(f *v1.DownwardAPIVolumeFile, path *field.Path) {
	c.Need(path, "path", f.Path)
	c.Add(rules.FilePath(f.Path, path.Child("path"))...)
	switch {
	case f.FieldRef != nil:
		c.fieldRef(f.FieldRef, fileFields, path.Child("fieldRef"))
		if f.ResourceFieldRef != nil {
			c.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case f.ResourceFieldRef != nil:
		c.resourceRef(f.ResourceFieldRef, true, path.Child("resourceFieldRef"))
	default:
		c.Required(path, "one of fieldRef and resourceFieldRef is required")
	}
	mode(&c.List, f.Mode, path.Child("mode"))
}

func hostPath(l *rules.List, h *v1.HostPathVolumeSource, path *field.Path) {
	if h.Path == "" {
		l.Required(path.Child("path"), "")
		return
	}
	l.Add(rules.NoBacksteps(h.Path, path.Child("path"))...)
	if h.Type != nil {
		rules.Supported(l, path.Child("type"), *h.Type, v1.HostPathUnset, v1.HostPathBlockDev, v1.HostPathCharDev, v1.HostPathDirectory,
			v1.HostPathDirectoryOrCreate, v1.HostPathFile, v1.HostPathFileOrCreate, v1.HostPathSocket)
	}
}
