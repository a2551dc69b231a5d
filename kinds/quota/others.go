package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/storage/volume"

	"skiff.dev/skiff/kinds"
)

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// serviceUsage counts node ports by what is asked for: they may not be given yet.
func serviceUsage(obj kinds.Object, _ time.Time, into corev1.ResourceList) {
	svc := obj.(*corev1.Service)
	ports, balancers := 0, 0
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = len(svc.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		balancers, ports = 1, len(svc.Spec.Ports)
		if svc.Spec.AllocateLoadBalancerNodePorts != nil && !*svc.Spec.AllocateLoadBalancerNodePorts {
			ports = 0
			for _, p := range svc.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
	}
	into[corev1.ResourceServices] = one()
	into[corev1.ResourceServicesNodePorts], into[corev1.ResourceServicesLoadBalancers] = number(ports), number(balancers)
}

var claimNames = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}

const byStorageClass = ".storageclass.storage.k8s.io/"

// claimNamed: claims and storage of one storage class.
func claimNamed(name corev1.ResourceName) bool {
	for _, n := range claimNames {
		if strings.HasSuffix(string(name), byStorageClass+string(n)) {
			return true
		}
	}
	return false
}

func claimHandles(sub string, obj, old kinds.Object) bool {
	switch sub {
	case "":
		return true
	case "status":
		if old == nil {
			return false
		}
		a, b := obj.(*corev1.PersistentVolumeClaim), old.(*corev1.PersistentVolumeClaim)
		return !a.Status.AllocatedResources.Storage().Equal(*b.Status.AllocatedResources.Storage()) ||
			!slices.Equal(attributeClasses(a), attributeClasses(b))
	}
	return false
}

func claimUsage(obj kinds.Object, _ time.Time, into corev1.ResourceList) {
	pvc := obj.(*corev1.PersistentVolumeClaim)
	class := corev1.ResourceName(volume.GetPersistentVolumeClaimClass(pvc))
	put := func(name corev1.ResourceName, q resource.Quantity) {
		into[name] = q
		if class != "" {
			into[class+byStorageClass+name] = q
		}
	}
	put(corev1.ResourcePersistentVolumeClaims, one())
	asked, ok := pvc.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return
	}
	if got, ok := pvc.Status.AllocatedResources[corev1.ResourceStorage]; ok && got.Cmp(asked) > 0 {
		asked = got
	}
	asked = asked.DeepCopy()
	asked.RoundUp(0) // quotas count whole bytes
	put(corev1.ResourceRequestsStorage, asked)
}

func claimScope(s corev1.ScopedResourceSelectorRequirement, obj kinds.Object) (bool, error) {
	if s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return false, nil
	}
	have := attributeClasses(obj)
	if s.Operator == corev1.ScopeSelectorOpExists {
		return len(have) > 0, nil
	}
	return selects(s, have)
}

// attributeClasses are the volume attributes classes that a claim wants, has, or is
// on its way to; sorted.
func attributeClasses(obj kinds.Object) []string {
	pvc := obj.(*corev1.PersistentVolumeClaim)
	var out []string
	for _, p := range []*string{pvc.Spec.VolumeAttributesClassName, pvc.Status.CurrentVolumeAttributesClassName} {
		if p != nil && *p != "" {
			out = append(out, *p)
		}
	}
	if m := pvc.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// deviceNamed: devices of one class.
func deviceNamed(name corev1.ResourceName) bool {
	return strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass)
}

// deviceUsage counts the devices that a claim may take at most: of alternatives the
// greatest number of each class.
func deviceUsage(obj kinds.Object, _ time.Time, into corev1.ResourceList) {
	add := func(class string, n int64) {
		name := corev1.ResourceName(class + corev1.ResourceClaimsPerClass)
		q := into[name]
		q.Add(*resource.NewQuantity(n, resource.DecimalSI))
		into[name] = q
	}
	for _, r := range obj.(*resourcev1.ResourceClaim).Spec.Devices.Requests {
		if r.Exactly != nil {
			add(r.Exactly.DeviceClassName, devices(r.Exactly.AllocationMode, r.Exactly.Count))
			continue
		}
		most := map[string]int64{}
		for _, alt := range r.FirstAvailable {
			most[alt.DeviceClassName] = max(most[alt.DeviceClassName], devices(alt.AllocationMode, alt.Count))
		}
		for class, n := range most {
			add(class, n)
		}
	}
}

func devices(mode resourcev1.DeviceAllocationMode, count int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return count
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0
}
