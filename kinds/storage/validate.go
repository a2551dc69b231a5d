package storage

import (
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of these files are those of pkg/apis/storage/validation in Kubernetes.

const (
	maxParameters     = 512
	maxParametersSize = 256 * 1024
)

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	var l rules.List
	judgeProvisioner(&l, c.Provisioner, field.NewPath("provisioner"))
	judgeParameters(&l, c.Parameters, field.NewPath("parameters"))
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		rules.Supported(&l, field.NewPath("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if m := c.VolumeBindingMode; m == nil {
		l.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		rules.Supported(&l, field.NewPath("volumeBindingMode"), *m, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	// Kubernetes compares a term with those before it and, as often as there are terms,
	// with an empty one.
	before := make([]map[string][]string, len(c.AllowedTopologies))
	for i, term := range c.AllowedTopologies {
		at := field.NewPath("allowedTopologies").Index(i)
		values := judgeTerm(&l, term, at)
		for _, b := range before {
			if row.Same(values, b) {
				l.Duplicate(at.Child("matchLabelExpressions"), "")
			}
		}
		before = append(before, values)
	}
	return l.Errors()
}

func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	l := rules.List(validateStorageClass(c))
	l.Add(rules.Immutable(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
	l.Add(rules.Immutable(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
	l.Add(rules.Immutable(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
	l.Add(rules.Immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	return l.Errors()
}

func judgeProvisioner(l *rules.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
		return
	}
	l.Add(rules.QualifiedName(strings.ToLower(name), path)...)
}

func judgeParameters(l *rules.List, p map[string]string, path *field.Path) {
	if len(p) > maxParameters {
		l.TooLong(path, maxParameters)
		return
	}
	size := 0
	for k, v := range p {
		if k == "" {
			l.Invalid(path, k, "field can not be empty.")
		}
		size += len(k) + len(v)
	}
	if size > maxParametersSize {
		l.TooLong(path, maxParametersSize)
	}
}

// judgeTerm gives the values of each key, sorted, by which terms are compared.
func judgeTerm(l *rules.List, term corev1.TopologySelectorTerm, path *field.Path) map[string][]string {
	out := map[string][]string{}
	for i, e := range term.MatchLabelExpressions {
		at := path.Child("matchLabelExpressions").Index(i)
		if len(e.Values) == 0 {
			l.Required(at.Child("values"), "")
		}
		seen := map[string]bool{}
		var values []string
		for k, v := range e.Values {
			if seen[v] {
				l.Duplicate(at.Child("values").Index(k), v)
				continue
			}
			seen[v] = true
			values = append(values, v)
		}
		l.Add(metavalidation.ValidateLabelName(e.Key, at.Child("key"))...)
		if _, found := out[e.Key]; found {
			l.Duplicate(at.Child("key"), e.Key)
		}
		sort.Strings(values)
		out[e.Key] = values
	}
	return out
}

func validateAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	var l rules.List
	judgeProvisioner(&l, c.DriverName, field.NewPath("driverName"))
	judgeParameters(&l, c.Parameters, field.NewPath("parameters"))
	if len(c.Parameters) == 0 {
		l.Required(field.NewPath("parameters"), "must contain at least one key/value pair")
	}
	return l.Errors()
}

func validateAttributesClassUpdate(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	var l rules.List
	if c.DriverName != old.DriverName {
		l.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
	}
	if !row.Same(c.Parameters, old.Parameters) {
		l.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
	}
	l.Add(validateAttributesClass(c)...)
	return l.Errors()
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if attacher := a.Spec.Attacher; attacher == "" {
		l.Required(path.Child("attacher"), "")
	} else {
		judgeDriver(&l, attacher, path.Child("attacher"))
	}
	source := path.Child("source")
	inline, pv := a.Spec.Source.InlineVolumeSpec != nil, a.Spec.Source.PersistentVolumeName
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch {
	case !inline && pv == nil:
		l.Required(source, one)
	case inline && pv != nil:
		l.Forbidden(source, one)
	case pv != nil && *pv == "":
		l.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
	case inline:
		l.Add(core.ValidateInlineVolume(a.Spec.Source.InlineVolumeSpec, source.Child("inlineVolumeSpec"))...)
	}
	l.Name(path.Child("nodeName"), a.Spec.NodeName, rules.DNSSubdomain)
	judgeAttachmentStatus(&l, &a.Status, field.NewPath("status"))
	if pv != nil {
		l.Name(field.NewPath("spec.source.persistentVolumeName"), *pv, rules.DNSSubdomain)
	}
	return l.Errors()
}

func judgeAttachmentStatus(l *rules.List, s *storagev1.VolumeAttachmentStatus, path *field.Path) {
	const maxSize = 256 * 1024
	size := 0
	for k, v := range s.AttachmentMetadata {
		size += len(k) + len(v)
	}
	if size > maxSize {
		l.TooLong(path.Child("attachmentMetadata"), maxSize)
	}
	judge := func(e *storagev1.VolumeError, at *field.Path) {
		if e == nil {
			return
		}
		if len(e.Message) > 1024 {
			l.TooLong(at.Child("message"), maxSize)
		}
		if e.ErrorCode != nil && *e.ErrorCode < 0 {
			l.Invalid(at.Child("errorCode"), *e.ErrorCode, utilvalidation.InclusiveRangeError(0, 1<<31-1))
		}
	}
	judge(s.AttachError, path.Child("attachError"))
	judge(s.DetachError, path.Child("detachError"))
}

func validateAttachmentUpdate(a, old *storagev1.VolumeAttachment) field.ErrorList {
	return append(validateAttachment(a), row.Immutable(a.Spec, old.Spec, field.NewPath("spec"))...)
}

func judgeDriver(l *rules.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
	}
	if len(name) > 63 {
		l.TooLong(path, 63)
	}
	l.Messages(path, name, utilvalidation.IsDNS1123Subdomain(strings.ToLower(name)))
}

func validateCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	return validateCapacityWith(c, metavalidation.LabelSelectorValidationOptions{})
}

func validateCapacityWith(c *storagev1.CSIStorageCapacity, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	l := rules.List(metavalidation.ValidateLabelSelector(c.NodeTopology, opts, field.NewPath("nodeTopology")))
	l.Name(field.NewPath("storageClassName"), c.StorageClassName, rules.DNSSubdomain)
	if c.Capacity != nil {
		l.Add(rules.NonNegativeQuantity(*c.Capacity, field.NewPath("capacity"))...)
	}
	return l.Errors()
}

func validateCapacityUpdate(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	var opts metavalidation.LabelSelectorValidationOptions
	opts.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(old.NodeTopology, opts, nil)) > 0
	l := rules.List(validateCapacityWith(c, opts))
	const immutable = "field is immutable"
	if !row.Same(c.NodeTopology, old.NodeTopology) {
		l.Invalid(field.NewPath("nodeTopology"), c.NodeTopology, immutable)
	}
	if c.StorageClassName != old.StorageClassName {
		l.Invalid(field.NewPath("storageClassName"), c.StorageClassName, immutable)
	}
	return l.Errors()
}
