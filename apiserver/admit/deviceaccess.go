package admit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
)

// DeviceAccess keeps administrators' access to devices to namespaces that are labelled
// for it, and lets only those write the parts of a claim's status whom the subresources
// binding and driver, which have no path, are given to. In Kubernetes this is no
// plugin but a part of how claims are judged (registry/resource): answers are 422.
type DeviceAccess struct {
	reader
	// Authorizer may be nil: then everybody may write the status who may write it.
	Authorizer auth.Authorizer
}

// Name implements admission.Plugin.
func (*DeviceAccess) Name() string { return "DeviceAccess" }

// Validate implements admission.Validator.
func (d *DeviceAccess) Validate(ctx context.Context, r *admission.Request) error {
	if r.Kind.Group != resourcev1.GroupName {
		return nil
	}
	var errs field.ErrorList
	switch obj := r.Object.(type) {
	case *resourcev1.ResourceClaim:
		switch {
		case r.Operation == admission.Create:
			errs = d.labelled(r.Namespace, asked(obj.Spec.Devices.Requests))
		case r.Operation == admission.Update && r.Subresource == "status":
			if old, ok := r.Old.(*resourcev1.ResourceClaim); ok {
				errs = d.status(ctx, r, obj, old)
			}
		}
	case *resourcev1.ResourceClaimTemplate:
		if r.Operation == admission.Create {
			errs = d.labelled(r.Namespace, asked(obj.Spec.Spec.Devices.Requests))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Object.GetName(), errs)
}

// asked is where a claim asks for administrators' access first; nil: nowhere. Paths
// are those of v1beta1 also for a template, as Kubernetes has them.
func asked(requests []resourcev1.DeviceRequest) *field.Path {
	for i := range requests {
		if e := requests[i].Exactly; e != nil && ptr.Deref(e.AdminAccess, false) {
			return field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess")
		}
	}
	return nil
}

func granted(s *resourcev1.ResourceClaimStatus) *field.Path {
	if s.Allocation == nil {
		return nil
	}
	for i, result := range s.Allocation.Devices.Results {
		if ptr.Deref(result.AdminAccess, false) {
			return field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess")
		}
	}
	return nil
}

func (d *DeviceAccess) labelled(namespace string, path *field.Path) field.ErrorList {
	if path == nil {
		return nil
	}
	ns, ok := find[*v1.Namespace](d.Reader, gr("", "namespaces"), "", namespace)
	if ok && ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] == "true" {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
}

func (d *DeviceAccess) status(ctx context.Context, r *admission.Request, c, old *resourcev1.ResourceClaim) field.ErrorList {
	var errs field.ErrorList
	if granted(&old.Status) == nil {
		errs = d.labelled(r.Namespace, granted(&c.Status))
	}
	if d.Authorizer == nil {
		return errs
	}
	verb := "update"
	if r.Patch {
		verb = "patch"
	}
	path := field.NewPath("status")
	if !equality.Semantic.DeepEqual(c.Status.Allocation, old.Status.Allocation) || !equality.Semantic.DeepEqual(c.Status.ReservedFor, old.Status.ReservedFor) {
		a := d.attributes(r, verb, resourcev1.SubresourceBinding)
		if err := d.denies(ctx, a); err != nil {
			errs = append(errs, field.Forbidden(path.Child("allocation"), fmt.Sprintf(
				`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, verb, err)))
		}
	}
	if c.Status.Allocation == nil {
		return errs // the status of devices goes with the allocation
	}
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + verb}
	if onNode(r.User, c.Status.Allocation) {
		verbs = append([]string{resourcev1.VerbPrefixAssociatedNode + verb}, verbs...)
	}
	for _, driver := range changedDrivers(c.Status.Devices, old.Status.Devices) {
		if err := d.anyOf(ctx, r, verbs, driver); err != nil {
			errs = append(errs, field.Forbidden(path.Child("devices"), fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, err)))
		}
	}
	return errs
}

// anyOf is nil if one of the verbs is allowed for a driver, else what keeps the first
// from it.
func (d *DeviceAccess) anyOf(ctx context.Context, r *admission.Request, verbs []string, driver string) error {
	var first error
	for _, verb := range verbs {
		a := d.attributes(r, verb, resourcev1.SubresourceDriver)
		a.Namespace, a.Name = r.Namespace, driver
		err := d.denies(ctx, a)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (d *DeviceAccess) attributes(r *admission.Request, verb, subresource string) *auth.Attributes {
	return &auth.Attributes{User: r.User, Verb: verb, Group: resourcev1.GroupName, Version: r.Requested.Version,
		Resource: r.Kind.Resource, Subresource: subresource, IsResource: true}
}

func (d *DeviceAccess) denies(ctx context.Context, a *auth.Attributes) error {
	decision, reason, err := d.Authorizer.Authorize(ctx, a)
	if decision == auth.Allow {
		return nil
	}
	switch {
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return auth.Forbidden(a, reason)
}

// changedDrivers are those whose devices' status is added, gone or changed.
func changedDrivers(now, before []resourcev1.AllocatedDeviceStatus) []string {
	type key struct{ driver, pool, device, share string }
	of := func(s *resourcev1.AllocatedDeviceStatus) key {
		return key{s.Driver, s.Pool, s.Device, ptr.Deref(s.ShareID, "")}
	}
	was := map[key]*resourcev1.AllocatedDeviceStatus{}
	for i := range before {
		was[of(&before[i])] = &before[i]
	}
	drivers := map[string]bool{}
	for i := range now {
		s := &now[i]
		if old := was[of(s)]; old == nil || !equality.Semantic.DeepEqual(old, s) {
			drivers[s.Driver] = true
		}
		delete(was, of(s))
	}
	for k := range was {
		drivers[k.driver] = true
	}
	return slices.Sorted(maps.Keys(drivers))
}

// onNode tells whether a user is a service account of a pod on the node that an
// allocation is for.
func onNode(u *auth.User, a *resourcev1.AllocationResult) bool {
	if u == nil || !strings.HasPrefix(u.Name, "system:serviceaccount:") || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return false
	}
	term := a.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return false
	}
	f, names := term.MatchFields[0], u.Extra["authentication.kubernetes.io/node-name"]
	return f.Key == metav1.ObjectNameField && f.Operator == v1.NodeSelectorOpIn && len(f.Values) == 1 &&
		len(names) == 1 && names[0] == f.Values[0]
}
