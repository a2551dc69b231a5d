package core

import (
	"net"
	"regexp"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// What pods' volumes and persistent volumes share of each kind of storage.

func nfs(l *rules.List, n *v1.NFSVolumeSource, path *field.Path) {
	l.Need(path, "server", n.Server)
	l.Need(path, "path", n.Path)
	if !strings.HasPrefix(n.Path, "/") {
		l.Invalid(path.Child("path"), n.Path, "must be an absolute path")
	}
}

func partition(l *rules.List, n int32, path *field.Path) {
	rules.Range(l, path.Child("partition"), n, 0, 255, validation.InclusiveRangeError(1, 255))
}

func gceDisk(l *rules.List, d *v1.GCEPersistentDiskVolumeSource, path *field.Path) {
	l.Need(path, "pdName", d.PDName)
	partition(l, d.Partition, path)
}

func awsStore(l *rules.List, s *v1.AWSElasticBlockStoreVolumeSource, path *field.Path) {
	l.Need(path, "volumeID", s.VolumeID)
	partition(l, s.Partition, path)
}

const (
	iscsiTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."
	iscsiStart   = "must be valid format starting with iqn, eui, or naa"
	iscsiFormat  = "must be valid format"
)

// iscsiNames are the forms of iSCSI names by their first three letters, compiled
// when the first volume needs them.
var iscsiNames = sync.OnceValue(func() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
		"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
		"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
	}
})

func iscsiName(l *rules.List, name, unknown string, path *field.Path) {
	form := iscsiNames()[name[:min(3, len(name))]]
	if form == nil {
		l.Invalid(path, name, unknown)
	} else if !form.MatchString(name) {
		l.Invalid(path, name, iscsiFormat)
	}
}

func iscsi(l *rules.List, i *v1.ISCSIVolumeSource, path *field.Path) {
	l.Need(path, "targetPortal", i.TargetPortal)
	if i.IQN == "" {
		l.Required(path.Child("iqn"), "")
	} else {
		iscsiName(l, i.IQN, iscsiStart, path.Child("iqn"))
	}
	rules.Range(l, path.Child("lun"), i.Lun, 0, 255, validation.InclusiveRangeError(0, 255))
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		l.Required(path.Child("secretRef"), "")
	}
	if i.InitiatorName != nil {
		iscsiName(l, *i.InitiatorName, iscsiStart, path.Child("initiatorname"))
	}
}

func iscsiVolume(l *rules.List, i *v1.ISCSIPersistentVolumeSource, name string, path *field.Path) {
	l.Need(path, "targetPortal", i.TargetPortal)
	if i.InitiatorName != nil && len(name+":"+i.TargetPortal) > 64 {
		l.Invalid(path.Child("targetportal"), i.TargetPortal, iscsiTooLong)
	}
	if i.IQN == "" {
		l.Required(path.Child("iqn"), "")
	} else {
		iscsiName(l, i.IQN, iscsiFormat, path.Child("iqn"))
	}
	rules.Range(l, path.Child("lun"), i.Lun, 0, 255, validation.InclusiveRangeError(0, 255))
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		l.Required(path.Child("secretRef"), "")
	}
	if i.SecretRef != nil {
		l.Need(path.Child("secretRef"), "name", i.SecretRef.Name)
	}
	if i.InitiatorName != nil {
		iscsiName(l, *i.InitiatorName, iscsiFormat, path.Child("initiatorname"))
	}
}

func fibreChannel(l *rules.List, f *v1.FCVolumeSource, path *field.Path) {
	targets := path.Child("targetWWNs")
	if len(f.TargetWWNs) == 0 && len(f.WWIDs) == 0 {
		l.Required(targets, "must specify either targetWWNs or wwids, but not both")
	}
	if len(f.TargetWWNs) == 0 {
		return
	}
	if len(f.WWIDs) != 0 {
		l.Invalid(targets, f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if f.Lun == nil {
		l.Required(path.Child("lun"), "lun is required if targetWWNs is specified")
	} else {
		rules.Range(l, path.Child("lun"), *f.Lun, 0, 255, validation.InclusiveRangeError(0, 255))
	}
}

func flocker(l *rules.List, f *v1.FlockerVolumeSource, path *field.Path) {
	if f.DatasetName == "" && f.DatasetUUID == "" {
		l.Required(path, "one of datasetName and datasetUUID is required")
	}
	if f.DatasetName != "" && f.DatasetUUID != "" {
		l.Invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(f.DatasetName, "/") {
		l.Invalid(path.Child("datasetName"), f.DatasetName, "must not contain '/'")
	}
}

func monitors(l *rules.List, list []string, path *field.Path) {
	if len(list) == 0 {
		l.Required(path.Child("monitors"), "")
	}
}

func rbd(l *rules.List, list []string, image string, path *field.Path) {
	monitors(l, list, path)
	l.Need(path, "image", image)
}

func quobyte(l *rules.List, q *v1.QuobyteVolumeSource, path *field.Path) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case q.Registry == "":
		l.Required(path.Child("registry"), pairs)
	case len(q.Tenant) >= 65:
		l.Required(path.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
	default:
		for _, pair := range strings.Split(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				l.Invalid(path.Child("registry"), q.Registry, pairs)
			}
		}
	}
	l.Need(path, "volume", q.Volume)
}

func flex(l *rules.List, driver string, options map[string]string, path *field.Path) {
	l.Need(path, "driver", driver)
	for key := range options {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			l.Invalid(path.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func azureDisk(l *rules.List, d *v1.AzureDiskVolumeSource, path *field.Path) {
	l.Need(path, "diskName", d.DiskName)
	l.Need(path, "diskURI", d.DataDiskURI)
	if d.CachingMode != nil {
		rules.Supported(l, path.Child("cachingMode"), *d.CachingMode,
			v1.AzureDataDiskCachingNone, v1.AzureDataDiskCachingReadOnly, v1.AzureDataDiskCachingReadWrite)
	}
	if d.Kind == nil {
		return
	}
	rules.Supported(l, path.Child("kind"), *d.Kind, v1.AzureDedicatedBlobDisk, v1.AzureManagedDisk, v1.AzureSharedBlobDisk)
	managed := *d.Kind == v1.AzureManagedDisk
	uri := path.Child("diskURI")
	if managed && !strings.HasPrefix(d.DataDiskURI, "/subscriptions/") {
		l.Add(field.NotSupported(uri, d.DataDiskURI, []string{"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"}))
	}
	if !managed && !strings.HasPrefix(d.DataDiskURI, "https://") {
		l.Add(field.NotSupported(uri, d.DataDiskURI, []string{"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"}))
	}
}

func storageOS(l *rules.List, name, namespace string, path *field.Path) {
	if name == "" {
		l.Required(path.Child("volumeName"), "")
	} else {
		l.Add(rules.DNSLabelField(name, path.Child("volumeName"))...)
	}
	if namespace != "" {
		l.Add(rules.DNSLabelField(namespace, path.Child("volumeNamespace"))...)
	}
}

// csiDriver judges the name of a driver.
func csiDriver(l *rules.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
		return
	}
	if len(name) > 63 {
		l.TooLong(path, 63)
	}
	l.Messages(path, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
}

// ValidateSignerName judges the name of a certificate signer, such as
// example.com/signer.
func ValidateSignerName(name string, path *field.Path) field.ErrorList {
	var l rules.List
	if name == "" {
		l.Required(path, "")
		return l.Errors()
	}
	domain, signer, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(signer, "/") {
		l.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return l.Errors()
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		l.TooLong(path, validation.DNS1123SubdomainMaxLength)
	}
	// The first label that is wrong is enough.
	parts := func(whole string, check func(string) []string) {
		for _, label := range strings.Split(whole, ".") {
			if msgs := check(label); len(msgs) > 0 {
				for _, msg := range msgs {
					l.Invalid(path, whole, `validating label "`+label+`": `+msg)
				}
				return
			}
		}
	}
	parts(domain, validation.IsDNS1123Label)
	if !strings.Contains(domain, ".") {
		l.Invalid(path, domain, "should be a domain with at least two segments separated by dots")
	}
	parts(signer, validation.IsDNS1123Subdomain)
	const most = 2*validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 2
	if len(name) > most {
		l.TooLong(path, most)
	}
	return l.Errors()
}

// mounts judges a container's volumeMounts.
func (c *podCheck) mounts(ctr *v1.Container, path *field.Path) {
	seen := make(map[string]bool, len(ctr.VolumeMounts))
	devices := map[string]string{}
	for _, d := range ctr.VolumeDevices {
		devices[d.Name] = d.DevicePath
	}
	for i := range ctr.VolumeMounts {
		m, at := &ctr.VolumeMounts[i], path.Index(i)
		c.Need(at, "name", m.Name)
		if c.volumes[m.Name] == nil {
			c.NotFound(at.Child("name"), m.Name)
		}
		c.Need(at, "mountPath", m.MountPath)
		if seen[m.MountPath] {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must be unique")
		}
		seen[m.MountPath] = true
		if _, ok := devices[m.Name]; ok {
			c.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if hasValue(devices, m.MountPath) {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		// What follows is told of the list, not of its item.
		if m.SubPath != "" {
			c.Add(rules.RelativePath(m.SubPath, path.Child("subPath"))...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				c.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			c.Add(rules.RelativePath(m.SubPathExpr, path.Child("subPathExpr"))...)
		}
		c.propagation(m, ctr, path)
	}
}

func hasValue(m map[string]string, value string) bool {
	for _, v := range m {
		if v == value {
			return true
		}
	}
	return false
}

func (c *podCheck) propagation(m *v1.VolumeMount, ctr *v1.Container, path *field.Path) {
	if p := m.MountPropagation; p != nil {
		at := path.Child("mountPropagation")
		rules.Supported(&c.List, at, *p, v1.MountPropagationBidirectional, v1.MountPropagationHostToContainer, v1.MountPropagationNone)
		if *p == v1.MountPropagationBidirectional && !privileged(ctr) {
			c.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	if m.RecursiveReadOnly == nil {
		return
	}
	at := path.Child("recursiveReadOnly")
	switch *m.RecursiveReadOnly {
	case v1.RecursiveReadOnlyDisabled:
	case v1.RecursiveReadOnlyEnabled, v1.RecursiveReadOnlyIfPossible:
		if !m.ReadOnly {
			c.Forbidden(at, "may only be specified when readOnly is true")
		}
		if m.MountPropagation != nil && *m.MountPropagation != v1.MountPropagationNone {
			c.Forbidden(at, "may only be specified when mountPropagation is None or not specified")
		}
	default:
		rules.Supported(&c.List, at, *m.RecursiveReadOnly, v1.RecursiveReadOnlyDisabled, v1.RecursiveReadOnlyEnabled, v1.RecursiveReadOnlyIfPossible)
	}
}

func privileged(ctr *v1.Container) bool {
	return ctr.SecurityContext != nil && ctr.SecurityContext.Privileged != nil && *ctr.SecurityContext.Privileged
}

// devices judges a container's volumeDevices.
func (c *podCheck) devices(ctr *v1.Container, path *field.Path) {
	names, paths := map[string]bool{}, map[string]bool{}
	mounts := map[string]string{}
	for _, m := range ctr.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	for i := range ctr.VolumeDevices {
		d, at := &ctr.VolumeDevices[i], path.Index(i)
		source := c.volumes[d.Name]
		c.Need(at, "name", d.Name)
		if names[d.Name] {
			c.Invalid(at.Child("name"), d.Name, "must be unique")
		}
		if source == nil {
			c.NotFound(at.Child("name"), d.Name)
		} else if source.PersistentVolumeClaim == nil && source.Ephemeral == nil {
			c.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		c.Need(at, "devicePath", d.DevicePath)
		if paths[d.DevicePath] {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if len(rules.NoBacksteps(d.DevicePath, at)) > 0 {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths[d.DevicePath] = true
		}
		if _, ok := mounts[d.Name]; ok {
			c.Invalid(at.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if hasValue(mounts, d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if d.Name != "" {
			names[d.Name] = true
		}
	}
}
