package resource

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// deviceID names a device that a claim may have been given, and the share of it.
// Messages show it as JSON.
type deviceID struct{ Driver, Pool, Device, ShareID string }

func resultID(r *resourcev1.DeviceRequestAllocationResult) deviceID {
	return deviceID{r.Driver, r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))}
}

func statusID(s *resourcev1.AllocatedDeviceStatus) deviceID {
	return deviceID{s.Driver, s.Pool, s.Device, ptr.Deref(s.ShareID, "")}
}

func allocated(s *resourcev1.ResourceClaimStatus) map[deviceID]bool {
	out := map[deviceID]bool{}
	if a := s.Allocation; a != nil {
		for i := range a.Devices.Results {
			out[resultID(&a.Devices.Results[i])] = true
		}
	}
	return out
}

// dropDeallocated drops the status of devices that the claim had and no longer has.
func dropDeallocated(c, old *resourcev1.ResourceClaim) {
	had, has := allocated(&old.Status), allocated(&c.Status)
	var kept []resourcev1.AllocatedDeviceStatus
	for _, s := range c.Status.Devices {
		if id := statusID(&s); !had[id] || has[id] {
			kept = append(kept, s)
		}
	}
	c.Status.Devices = kept
}

func validateClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	var l rules.List
	s, path := &c.Status, field.NewPath("status")
	reserved := path.Child("reservedFor")
	set(&l, s.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, reserved,
		func(r *resourcev1.ResourceClaimConsumerReference) string { return string(r.UID) },
		func(r *resourcev1.ResourceClaimConsumerReference, at *field.Path) {
			l.Need(at, "resource", r.Resource)
			l.Need(at, "name", r.Name)
			l.Need(at, "uid", string(r.UID))
		})
	has := allocated(s)
	seen := map[deviceID]bool{}
	for i := range s.Devices {
		at, id := path.Child("devices").Index(i), statusID(&s.Devices[i])
		deviceStatus(&l, &s.Devices[i], has, at)
		if seen[id] {
			l.Duplicate(at, id)
		}
		seen[id] = true
	}
	if len(s.ReservedFor) > 0 {
		switch {
		case s.Allocation == nil:
			l.Forbidden(reserved, "may not be specified when `allocated` is not set")
		case c.DeletionTimestamp != nil && reservesMore(s, &old.Status):
			l.Forbidden(reserved, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
		}
	}
	switch {
	case s.Allocation == nil:
	case old.Status.Allocation != nil:
		// What is stored is not judged by today's rules.
		l.Add(row.Immutable(s.Allocation, old.Status.Allocation, path.Child("allocation"))...)
	default:
		allocation(&l, s.Allocation, namesOf(&c.Spec.Devices), path.Child("allocation"))
	}
	return l.Errors()
}

func reservesMore(s, old *resourcev1.ResourceClaimStatus) bool {
	had := map[resourcev1.ResourceClaimConsumerReference]bool{}
	for _, r := range old.ReservedFor {
		had[r] = true
	}
	for _, r := range s.ReservedFor {
		if !had[r] {
			return true
		}
	}
	return false
}

func allocation(l *rules.List, a *resourcev1.AllocationResult, known names, path *field.Path) {
	at := path.Child("devices")
	each(l, a.Devices.Results, resourcev1.AllocationResultsMaxSize, at.Child("results"), func(r *resourcev1.DeviceRequestAllocationResult, at *field.Path) {
		reference(l, r.Request, at.Child("request"), known)
		driver(l, r.Driver, at.Child("driver"))
		poolName(l, r.Pool, at.Child("pool"))
		l.Messages(at.Child("device"), r.Device, validation.IsDNS1123Label(r.Device))
		bindings(l, r.BindingConditions, r.BindingFailureConditions, at)
		if r.ShareID != nil {
			shareID(l, string(*r.ShareID), at.Child("shareID"))
		}
	})
	each(l, a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, at.Child("config"), func(c *resourcev1.DeviceAllocationConfiguration, at *field.Path) {
		rules.SupportedOrRequired(l, at.Child("source"), c.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
		references(l, c.Requests, at.Child("requests"), known)
		configuration(l, &c.DeviceConfiguration, at, false)
	})
	if a.NodeSelector != nil {
		l.Add(core.ValidateNodeSelector(a.NodeSelector, path.Child("nodeSelector"))...)
	}
}

func shareID(l *rules.List, id string, path *field.Path) {
	if err := uuid.Validate(id); err != nil {
		l.Invalid(path, id, fmt.Sprintf("error validating uid: %v", err))
	} else if len(id) != 36 || id != strings.ToLower(id) {
		l.Invalid(path, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
}

func deviceStatus(l *rules.List, s *resourcev1.AllocatedDeviceStatus, has map[deviceID]bool, path *field.Path) {
	driver(l, s.Driver, path.Child("driver"))
	poolName(l, s.Pool, path.Child("pool"))
	l.Messages(path.Child("device"), s.Device, validation.IsDNS1123Label(s.Device))
	if s.ShareID != nil {
		shareID(l, *s.ShareID, path.Child("shareID"))
	}
	if id := statusID(s); !has[id] {
		l.Invalid(path, id, "must be an allocated device in the claim")
	}
	if n := len(s.Conditions); n > resourcev1.AllocatedDeviceStatusMaxConditions {
		l.Add(field.TooMany(path.Child("conditions"), n, resourcev1.AllocatedDeviceStatusMaxConditions))
	}
	l.Add(metav1validation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
	if s.Data != nil && len(s.Data.Raw) > 0 {
		object(l, s.Data.Raw, resourcev1.AllocatedDeviceStatusDataMaxLength, path.Child("data"), false)
	}
	n := s.NetworkData
	if n == nil {
		return
	}
	at := path.Child("networkData")
	if len(n.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		l.TooLong(at.Child("interfaceName"), resourcev1.NetworkDeviceDataInterfaceNameMaxLength)
	}
	if len(n.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		l.TooLong(at.Child("hardwareAddress"), resourcev1.NetworkDeviceDataHardwareAddressMaxLength)
	}
	set(l, n.IPs, resourcev1.NetworkDeviceDataMaxIPs, at.Child("ips"), itself, func(ip *string, at *field.Path) {
		l.Add(validation.IsValidInterfaceAddress(at, *ip)...)
	})
}
