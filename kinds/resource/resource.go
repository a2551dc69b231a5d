// Package resource holds the kinds of the group resource.k8s.io: devices that pods
// claim. See package kinds for the table that this is a part of.
package resource

import (
	"fmt"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(deviceClass(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(resourceClaim(), rules.MetaUpdate|rules.MetaFull|rules.MetaStatus),
		rules.WithMeta(resourceClaimTemplate(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(resourceSlice(), rules.MetaUpdate),
	}
}

func deviceClass() *kinds.Kind {
	type T = *resourcev1.DeviceClass
	return row.Fill[resourcev1.DeviceClass, resourcev1.DeviceClassList](resourcev1.SchemeGroupVersion, &kinds.Kind{
		Resource:   "deviceclasses",
		Name:       rules.LongName,
		Generation: rules.Differ(func(c, old T) bool { return !row.Same(c.Spec, old.Spec) }),
		Validate:   rules.Check(validateClass), ValidateUpdate: rules.Check2(validateClassUpdate),
		Columns: []metav1.TableColumnDefinition{rules.NameColumn(), rules.AgeColumn()},
		Cells:   rules.Cells(func(c T, now time.Time) []any { return []any{c.Name, rules.Age(c.CreationTimestamp, now)} }),
	}, oldClass()...)
}

func resourceClaim() *kinds.Kind {
	type T = *resourcev1.ResourceClaim
	return row.Fill[resourcev1.ResourceClaim, resourcev1.ResourceClaimList](resourcev1.SchemeGroupVersion, &kinds.Kind{
		Resource:   "resourceclaims",
		Namespaced: true,
		Name:       rules.DNSSubdomain,
		Default:    rules.Do(func(c T) { defaultClaim(&c.Spec) }),
		Validate:   rules.Check(validateClaim), ValidateUpdate: rules.Check2(validateClaimUpdate),
		PrepareCreate: rules.Do(func(c T) { c.Status = resourcev1.ResourceClaimStatus{} }),
		PrepareUpdate: rules.Do2(func(c, old T) { c.Status = old.Status }),
		Subresources: row.WithStatus(func(c, old T) {
			c.Spec = old.Spec
			row.ResetMeta(c, old)
			dropDeallocated(c, old)
		}, validateClaimStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, claimState(c), rules.Age(c.CreationTimestamp, now)}
		}),
	}, oldClaim()...)
}

func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

func resourceClaimTemplate() *kinds.Kind {
	type T = *resourcev1.ResourceClaimTemplate
	return row.Fill[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList](resourcev1.SchemeGroupVersion, &kinds.Kind{
		Resource:   "resourceclaimtemplates",
		Namespaced: true,
		Name:       rules.DNSSubdomain,
		Default:    rules.Do(func(t T) { defaultClaim(&t.Spec.Spec) }),
		Validate:   rules.Check(validateTemplate), ValidateUpdate: rules.Check2(validateTemplateUpdate),
		Columns: []metav1.TableColumnDefinition{rules.NameColumn(), rules.AgeColumn()},
		Cells:   rules.Cells(func(t T, now time.Time) []any { return []any{t.Name, rules.Age(t.CreationTimestamp, now)} }),
	}, oldTemplate()...)
}

func resourceSlice() *kinds.Kind {
	type T = *resourcev1.ResourceSlice
	spec := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return row.Fill[resourcev1.ResourceSlice, resourcev1.ResourceSliceList](resourcev1.SchemeGroupVersion, &kinds.Kind{
		Resource:   "resourceslices",
		Default:    rules.Do(defaultSlice),
		Name:       rules.DNSSubdomain,
		Generation: rules.Differ(func(s, old T) bool { return !row.Same(s.Spec, old.Spec) }),
		Validate:   rules.Check(validateSlice), ValidateUpdate: rules.Check2(validateSliceUpdate),
		PrepareCreate: rules.Do(func(s T) { dropSlice(s, nil) }),
		PrepareUpdate: rules.Do2(dropSlice),
		Warnings:      rules.Warn(sliceWarnings),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Node", spec["nodeName"]),
			rules.Column("Driver", spec["driver"]),
			rules.Column("Pool", resourcev1.ResourcePool{}.SwaggerDoc()["name"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(s T, now time.Time) []any {
			return []any{s.Name, ptr.Deref(s.Spec.NodeName, ""), s.Spec.Driver, s.Spec.Pool.Name, rules.Age(s.CreationTimestamp, now)}
		}),
		FieldUnknown: func(gvk schema.GroupVersionKind, label string) string {
			return fmt.Sprintf("field label not supported for %s: %s", gvk, label)
		},
		Fields: map[string]func(kinds.Object) string{
			resourcev1.ResourceSliceSelectorNodeName: rules.Field(func(s T) string { return ptr.Deref(s.Spec.NodeName, "") }),
			resourcev1.ResourceSliceSelectorDriver:   rules.Field(func(s T) string { return s.Spec.Driver }),
		},
	}, oldSlice()...)
}

// defaultClaim: in each request, and in what follows, what is not said is the default
// of pkg/apis/resource/v1 in Kubernetes.
func defaultClaim(spec *resourcev1.ResourceClaimSpec) {
	for i := range spec.Devices.Requests {
		r := &spec.Devices.Requests[i]
		if r.Exactly != nil {
			defaultCount(&r.Exactly.AllocationMode, &r.Exactly.Count)
			defaultTolerations(r.Exactly.Tolerations)
		}
		for k := range r.FirstAvailable {
			defaultCount(&r.FirstAvailable[k].AllocationMode, &r.FirstAvailable[k].Count)
			defaultTolerations(r.FirstAvailable[k].Tolerations)
		}
	}
}

func defaultTolerations(list []resourcev1.DeviceToleration) {
	for i := range list {
		if list[i].Operator == "" {
			list[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

// defaultSlice says since when a taint is there.
func defaultSlice(s *resourcev1.ResourceSlice) {
	for i := range s.Spec.Devices {
		for k := range s.Spec.Devices[i].Taints {
			if t := &s.Spec.Devices[i].Taints[k]; t.TimeAdded == nil {
				t.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
			}
		}
	}
}

func sliceWarnings(s, _ *resourcev1.ResourceSlice) []string {
	if d := s.Spec.Driver; d != strings.ToLower(d) {
		return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", d)}
	}
	return nil
}

func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
}
