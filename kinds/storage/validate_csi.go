package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

const tokenWarning = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"

const maxNodeID = 256

func validateCSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	var l rules.List
	path, s := field.NewPath("spec"), &d.Spec
	need := func(b *bool, name string) {
		if b == nil {
			l.Required(path.Child(name), "")
		}
	}
	need(s.AttachRequired, "attachedRequired")
	need(s.PodInfoOnMount, "podInfoOnMount")
	need(s.StorageCapacity, "storageCapacity")
	if s.FSGroupPolicy != nil {
		rules.Supported(&l, path.Child("fsGroupPolicy"), *s.FSGroupPolicy,
			storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	judgeTokens(&l, s.TokenRequests, path.Child("tokenRequests"))
	for _, m := range s.VolumeLifecycleModes {
		rules.Supported(&l, path.Child("volumeLifecycleModes"), m, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)
	}
	need(s.SELinuxMount, "seLinuxMount")
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < 10 {
		l.Invalid(path.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds")
	}
	if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
		l.Invalid(path.Child("serviceAccountTokenInSecrets"), s.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	return l.Errors()
}

func judgeTokens(l *rules.List, tokens []storagev1.TokenRequest, path *field.Path) {
	seen := map[string]bool{}
	for i, t := range tokens {
		if seen[t.Audience] {
			l.Duplicate(path.Index(i).Child("audience"), t.Audience)
			continue
		}
		seen[t.Audience] = true
		at := path.Index(i).Child("expirationSeconds")
		if n := t.ExpirationSeconds; n != nil && *n < 600 {
			l.Invalid(at, *n, "may not specify a duration less than 10 minutes")
		}
		if n := t.ExpirationSeconds; n != nil && *n > 1<<32 {
			l.Invalid(at, *n, "may not specify a duration larger than 2^32 seconds")
		}
	}
}

func validateCSIDriverUpdate(d, old *storagev1.CSIDriver) field.ErrorList {
	l := rules.List(validateCSIDriver(d))
	l.Add(rules.Immutable(d.Spec.AttachRequired, old.Spec.AttachRequired, field.NewPath("spec", "attachedRequired"))...)
	l.Add(rules.Immutable(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, field.NewPath("spec", "volumeLifecycleModes"))...)
	return l.Errors()
}

func validateCSINode(n *storagev1.CSINode) field.ErrorList {
	var l rules.List
	seen := map[string]bool{}
	for i := range n.Spec.Drivers {
		d, path := &n.Spec.Drivers[i], field.NewPath("spec", "drivers").Index(i)
		if d.Name == "" {
			l.Required(path.Child("name"), "")
		} else {
			judgeDriver(&l, d.Name, path.Child("name"))
		}
		if d.NodeID == "" {
			l.Required(path.Child("nodeID"), "")
		}
		if len(d.NodeID) > maxNodeID {
			l.Invalid(path.Child("nodeID"), d.NodeID, "must be 256 characters or less")
		}
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			l.Add(rules.NonNegative(int64(*d.Allocatable.Count), path.Child("allocatable", "count"))...)
		}
		if seen[d.Name] {
			l.Duplicate(path.Child("name"), d.Name)
		}
		seen[d.Name] = true
		keys := map[string]bool{}
		for _, key := range d.TopologyKeys {
			if key == "" {
				l.Required(path, "")
			}
			if keys[key] {
				l.Duplicate(path, key)
			}
			keys[key] = true
			l.Add(rules.QualifiedName(key, path)...)
		}
	}
	return l.Errors()
}

// validateCSINodeUpdate lets a driver come and go, and its limit change.
func validateCSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	l := rules.List(validateCSINode(n))
	for _, was := range old.Spec.Drivers {
		for _, is := range n.Spec.Drivers {
			if was.Name == is.Name {
				was.Allocatable, is.Allocatable = nil, nil
				l.Add(row.Immutable(is, was, field.NewPath("spec", "drivers"))...)
			}
		}
	}
	return l.Errors()
}
