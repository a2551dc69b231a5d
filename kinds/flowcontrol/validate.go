package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

func oldFlowSchema() []kinds.Version    { return nil }
func oldPriorityLevel() []kinds.Version { return nil }

func validateFlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList            { return nil }
func validateFlowSchemaUpdate(f, old *flowcontrolv1.FlowSchema) field.ErrorList { return nil }
func validateFlowSchemaStatus(f, old *flowcontrolv1.FlowSchema) field.ErrorList { return nil }
func validatePriorityLevel(f *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return nil
}
func validatePriorityLevelUpdate(f, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return nil
}
func validatePriorityLevelStatus(f, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return nil
}
