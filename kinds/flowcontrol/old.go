package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta1 "k8s.io/api/flowcontrol/v1beta1"
	flowcontrolv1beta2 "k8s.io/api/flowcontrol/v1beta2"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// Before v1beta3 shares were called assured. No shares mean the usual number in every
// old form, where v1 can say zero.

func oldFlowSchema() []kinds.Version {
	c := convert.New()
	return []kinds.Version{
		convert.Old[flowcontrolv1.FlowSchema, flowcontrolv1beta3.FlowSchema, flowcontrolv1beta3.FlowSchemaList](c, flowcontrolv1beta3.SchemeGroupVersion, "FlowSchema", nil),
		convert.Old[flowcontrolv1.FlowSchema, flowcontrolv1beta2.FlowSchema, flowcontrolv1beta2.FlowSchemaList](c, flowcontrolv1beta2.SchemeGroupVersion, "FlowSchema", nil),
		convert.Old[flowcontrolv1.FlowSchema, flowcontrolv1beta1.FlowSchema, flowcontrolv1beta1.FlowSchemaList](c, flowcontrolv1beta1.SchemeGroupVersion, "FlowSchema", nil),
	}
}

func oldPriorityLevel() []kinds.Version {
	type limited = flowcontrolv1.LimitedPriorityLevelConfiguration
	c := convert.New(
		convert.After(func(in *flowcontrolv1beta2.LimitedPriorityLevelConfiguration, out *limited) error {
			out.NominalConcurrencyShares = some(in.AssuredConcurrencyShares)
			return nil
		}),
		convert.After(func(in *limited, out *flowcontrolv1beta2.LimitedPriorityLevelConfiguration) error {
			out.AssuredConcurrencyShares = ptr.Deref(in.NominalConcurrencyShares, 0)
			return nil
		}),
		convert.After(func(in *flowcontrolv1beta1.LimitedPriorityLevelConfiguration, out *limited) error {
			out.NominalConcurrencyShares = some(in.AssuredConcurrencyShares)
			return nil
		}),
		convert.After(func(in *limited, out *flowcontrolv1beta1.LimitedPriorityLevelConfiguration) error {
			out.AssuredConcurrencyShares = ptr.Deref(in.NominalConcurrencyShares, 0)
			return nil
		}),
	)
	return []kinds.Version{
		convert.Old[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1beta3.PriorityLevelConfiguration, flowcontrolv1beta3.PriorityLevelConfigurationList](c, flowcontrolv1beta3.SchemeGroupVersion, "PriorityLevelConfiguration", nil),
		convert.Old[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1beta2.PriorityLevelConfiguration, flowcontrolv1beta2.PriorityLevelConfigurationList](c, flowcontrolv1beta2.SchemeGroupVersion, "PriorityLevelConfiguration", nil),
		convert.Old[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1beta1.PriorityLevelConfiguration, flowcontrolv1beta1.PriorityLevelConfigurationList](c, flowcontrolv1beta1.SchemeGroupVersion, "PriorityLevelConfiguration", nil),
	}
}

func some(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return &n
}
