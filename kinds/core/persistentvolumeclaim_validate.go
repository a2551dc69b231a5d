package core

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/rules"
)

// claimAllowances are rules that an update need not keep; see podAllowances.
type claimAllowances struct{ selectorValues, apiGroup bool }

func validatePersistentVolumeClaim(c *v1.PersistentVolumeClaim) field.ErrorList {
	return checkClaimSpec(&c.Spec, claimAllowances{}, field.NewPath("spec"))
}

// ValidateClaimSpec judges the spec of a claim, or of a template of claims.
func ValidateClaimSpec(s *v1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	return checkClaimSpec(s, claimAllowances{}, path)
}

// ValidateClaimTemplate judges what an ephemeral volume makes its claim of.
func ValidateClaimTemplate(t *v1.PersistentVolumeClaimTemplate, path *field.Path) field.ErrorList {
	var l rules.List
	meta := path.Child("metadata")
	l.Add(apivalidation.ValidateAnnotations(t.Annotations, meta.Child("annotations"))...)
	l.Add(metavalidation.ValidateLabels(t.Labels, meta.Child("labels"))...)
	onlyFields(&l, t.ObjectMeta, map[string]bool{"Annotations": true, "Labels": true}, "cannot be set", meta)
	l.Add(ValidateClaimSpec(&t.Spec, path.Child("spec"))...)
	return l.Errors()
}

func checkClaimSpec(s *v1.PersistentVolumeClaimSpec, allow claimAllowances, path *field.Path) field.ErrorList {
	var l rules.List
	if len(s.AccessModes) == 0 {
		l.Required(path.Child("accessModes"), "at least 1 access mode is required")
	}
	if s.Selector != nil {
		l.Add(metavalidation.ValidateLabelSelector(s.Selector,
			metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: allow.selectorValues}, path.Child("selector"))...)
	}
	if len(s.AccessModes) > 0 {
		accessModes(&l, s.AccessModes, "", path.Child("accessModes"))
	}
	at := path.Child("resources").Key(string(v1.ResourceStorage))
	if q, ok := s.Resources.Requests[v1.ResourceStorage]; !ok {
		l.Required(at, "")
	} else if errs := rules.PositiveQuantity(q, at); len(errs) > 0 {
		l.Add(errs...)
	} else {
		l.Add(resourceQuantity(v1.ResourceStorage, q, at)...)
	}
	if class := ptr.Deref(s.StorageClassName, ""); class != "" {
		l.Name(path.Child("storageClassName"), class, rules.DNSSubdomain)
	}
	volumeMode(&l, s.VolumeMode, path)
	claimSources(&l, s, allow.apiGroup, path)
	if class := ptr.Deref(s.VolumeAttributesClassName, ""); class != "" {
		l.Name(path.Child("volumeAttributesClassName"), class, rules.DNSSubdomain)
	}
	return l.Errors()
}

func claimSources(l *rules.List, s *v1.PersistentVolumeClaimSpec, anyGroup bool, path *field.Path) {
	source, ref := s.DataSource, s.DataSourceRef
	if source != nil {
		dataSource(l, source.Name, source.Kind, ptr.Deref(source.APIGroup, ""), anyGroup, path.Child("dataSource"))
	}
	if ref == nil {
		return
	}
	dataSource(l, ref.Name, ref.Kind, ptr.Deref(ref.APIGroup, ""), anyGroup, path.Child("dataSourceRef"))
	ns := ptr.Deref(ref.Namespace, "")
	if ns != "" {
		l.Name(path.Child("dataSourceRef", "namespace"), ns, rules.DNSLabel)
	}
	switch {
	case source == nil:
	case ns != "":
		l.Invalid(path, path.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
	case !ptr.Equal(source.APIGroup, ref.APIGroup) || source.Kind != ref.Kind || source.Name != ref.Name:
		l.Invalid(path, path.Child("dataSource"), "must match dataSourceRef")
	}
}

func dataSource(l *rules.List, name, kind, group string, anyGroup bool, path *field.Path) {
	l.Need(path, "name", name)
	l.Need(path, "kind", kind)
	if group == "" && kind != "PersistentVolumeClaim" {
		l.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
	}
	if group != "" && !anyGroup {
		l.Messages(path.Child("apiGroup"), group, validation.IsDNS1123Subdomain(group))
	}
}

func claimAllowancesFor(old *v1.PersistentVolumeClaimSpec) claimAllowances {
	return claimAllowances{
		selectorValues: len(metavalidation.ValidateLabelSelector(old.Selector, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0,
		apiGroup: old.DataSource != nil && old.DataSource.APIGroup != nil ||
			old.DataSourceRef != nil && old.DataSourceRef.APIGroup != nil,
	}
}

func validatePersistentVolumeClaimUpdate(c, old *v1.PersistentVolumeClaim) field.ErrorList {
	old = old.DeepCopy()
	normalizeDataSources(&old.Spec)
	l := rules.List(checkClaimSpec(&c.Spec, claimAllowancesFor(&old.Spec), field.NewPath("spec")))
	is, was := c.DeepCopy(), old
	if was.Spec.VolumeName == "" {
		// The binder fills it in.
		was.Spec.VolumeName = is.Spec.VolumeName
	}
	const beta = v1.BetaStorageClassAnnotation
	oldClass, oldHas := old.Annotations[beta]
	newClass, newHas := c.Annotations[beta]
	name := c.Spec.StorageClassName
	if oldHas && old.Spec.StorageClassName == nil && name != nil && *name == oldClass && (!newHas || newClass == oldClass) {
		// The class moves from the annotation to the field.
		is.Spec.StorageClassName = nil
		metav1.SetMetaDataAnnotation(&is.ObjectMeta, beta, oldClass)
	} else {
		if newClass != oldClass {
			l.Invalid(field.NewPath("metadata", "annotations", beta), newClass, apivalidation.FieldImmutableErrorMsg)
		}
		if name != nil && old.Spec.StorageClassName == nil && (!oldHas || *name == oldClass) {
			is.Spec.StorageClassName = nil
		}
	}
	if c.Status.Phase == v1.ClaimBound {
		if is.Spec.Resources.Requests != nil {
			is.Spec.Resources.Requests[v1.ResourceStorage] = old.Spec.Resources.Requests[v1.ResourceStorage]
		}
		is.Spec.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	}
	spec := field.NewPath("spec")
	if !equality.Semantic.DeepEqual(is.Spec, was.Spec) {
		l.Forbidden(spec, fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", diff.Diff(was.Spec, is.Spec)))
	}
	size, before := c.Spec.Resources.Requests[v1.ResourceStorage], old.Spec.Resources.Requests[v1.ResourceStorage]
	if size.Cmp(before) < 0 && size.Cmp(old.Status.Capacity[v1.ResourceStorage]) <= 0 {
		l.Forbidden(spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	l.Add(rules.Immutable(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	class, at := c.Spec.VolumeAttributesClassName, spec.Child("volumeAttributesClassName")
	if old.Status.CurrentVolumeAttributesClassName != nil && !ptr.Equal(class, old.Spec.VolumeAttributesClassName) {
		if class == nil {
			l.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
		} else if *class == "" {
			l.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
		}
	}
	return l.Errors()
}

func validatePersistentVolumeClaimStatus(c, _ *v1.PersistentVolumeClaim) field.ErrorList {
	var l rules.List
	if c.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	if len(c.Spec.AccessModes) == 0 {
		l.Required(field.NewPath("Spec", "accessModes"), "")
	}
	status := field.NewPath("status")
	for _, name := range names(c.Status.Capacity) {
		if q := c.Status.Capacity[name]; q.Value() < 0 {
			l.Invalid(status.Child("capacity").Key(string(name)), q.Value(), "must be a valid resource quantity")
		}
	}
	states := []v1.ClaimResourceStatus{v1.PersistentVolumeClaimControllerResizeInProgress, v1.PersistentVolumeClaimControllerResizeInfeasible,
		v1.PersistentVolumeClaimNodeResizePending, v1.PersistentVolumeClaimNodeResizeInProgress, v1.PersistentVolumeClaimNodeResizeInfeasible}
	known := set(states...)
	for name, state := range c.Status.AllocatedResourceStatuses {
		at := status.Child("allocatedResourceStatuses")
		l.Add(claimResource(name, at)...)
		if !known[state] {
			l.Add(field.NotSupported(at, name, sorted(states)))
		}
	}
	for _, name := range names(c.Status.AllocatedResources) {
		q, at := c.Status.AllocatedResources[name], status.Child("allocatedResources")
		if errs := claimResource(name, at); len(errs) > 0 {
			l.Add(errs...)
		} else if at = at.Key(string(name)); q.Value() < 0 {
			l.Invalid(at, q.Value(), "must be a valid resource quantity")
		} else {
			l.Add(resourceQuantity(v1.ResourceStorage, q, at)...)
		}
	}
	return l.Errors()
}

func claimResource(name v1.ResourceName, path *field.Path) field.ErrorList {
	if errs := rules.QualifiedName(string(name), path); len(errs) > 0 {
		return errs
	}
	if isNative(name) && name != v1.ResourceStorage {
		return field.ErrorList{field.NotSupported(path, string(name), []v1.ResourceName{v1.ResourceStorage})}
	}
	return nil
}
