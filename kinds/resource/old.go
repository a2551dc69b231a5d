package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// v1beta2 says and leaves out the same as v1. In v1beta1 a request that is for one
// class of devices has its fields beside its name, and a device those under basic.

var (
	v1beta1 = resourcev1beta1.SchemeGroupVersion
	v1beta2 = resourcev1beta2.SchemeGroupVersion
	// flat copies what two types have under the same names.
	flat = convert.New()
)

func betas() *convert.Converter {
	return convert.New(
		convert.After(func(in *resourcev1beta1.DeviceRequest, out *resourcev1.DeviceRequest) error {
			if in.DeviceClassName == "" && in.Selectors == nil && in.AllocationMode == "" && in.Count == 0 &&
				in.AdminAccess == nil && in.Tolerations == nil && in.Capacity == nil {
				return nil
			}
			out.Exactly = &resourcev1.ExactDeviceRequest{}
			return flat.Convert(in, out.Exactly)
		}),
		convert.After(func(in *resourcev1.DeviceRequest, out *resourcev1beta1.DeviceRequest) error {
			if in.Exactly == nil {
				return nil
			}
			return flat.Convert(in.Exactly, out)
		}),
		convert.After(func(in *resourcev1beta1.Device, out *resourcev1.Device) error {
			if in.Basic == nil {
				return nil
			}
			return flat.Convert(in.Basic, out)
		}),
		convert.After(func(in *resourcev1.Device, out *resourcev1beta1.Device) error {
			out.Basic = &resourcev1beta1.BasicDevice{}
			return flat.Convert(in, out.Basic)
		}),
	)
}

func oldClass() []kinds.Version {
	return []kinds.Version{
		convert.Old[resourcev1.DeviceClass, resourcev1beta2.DeviceClass, resourcev1beta2.DeviceClassList](convert.New(), v1beta2, "DeviceClass", nil),
		convert.Old[resourcev1.DeviceClass, resourcev1beta1.DeviceClass, resourcev1beta1.DeviceClassList](convert.New(), v1beta1, "DeviceClass", nil),
	}
}

func oldClaim() []kinds.Version {
	return []kinds.Version{
		convert.Old[resourcev1.ResourceClaim, resourcev1beta2.ResourceClaim, resourcev1beta2.ResourceClaimList](convert.New(), v1beta2, "ResourceClaim", nil),
		convert.Old[resourcev1.ResourceClaim, resourcev1beta1.ResourceClaim, resourcev1beta1.ResourceClaimList](betas(), v1beta1, "ResourceClaim", nil),
	}
}

func oldTemplate() []kinds.Version {
	return []kinds.Version{
		convert.Old[resourcev1.ResourceClaimTemplate, resourcev1beta2.ResourceClaimTemplate, resourcev1beta2.ResourceClaimTemplateList](convert.New(), v1beta2, "ResourceClaimTemplate", nil),
		convert.Old[resourcev1.ResourceClaimTemplate, resourcev1beta1.ResourceClaimTemplate, resourcev1beta1.ResourceClaimTemplateList](betas(), v1beta1, "ResourceClaimTemplate", nil),
	}
}

func oldSlice() []kinds.Version {
	return []kinds.Version{
		convert.Old[resourcev1.ResourceSlice, resourcev1beta2.ResourceSlice, resourcev1beta2.ResourceSliceList](convert.New(), v1beta2, "ResourceSlice", nil),
		convert.Old[resourcev1.ResourceSlice, resourcev1beta1.ResourceSlice, resourcev1beta1.ResourceSliceList](betas(), v1beta1, "ResourceSlice", nil),
	}
}
