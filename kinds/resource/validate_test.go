package resource

import (
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func told(errs field.ErrorList) string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return strings.Join(out, "\n")
}

// claim is one that is right, changed by change.
func claim(change func(*resourcev1.DeviceClaim)) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "gpu", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com"}}}}}}
	if change != nil {
		change(&c.Spec.Devices)
	}
	defaultClaim(&c.Spec)
	return c
}

// TestClaims: wordings are those of pkg/apis/resource/validation in Kubernetes.
func TestClaims(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*resourcev1.DeviceClaim)
		want   string
	}{
		"right":    {nil, ""},
		"no class": {func(d *resourcev1.DeviceClaim) { d.Requests[0].Exactly.DeviceClassName = "" }, "spec.devices.requests[0].exactly.deviceClassName: Required value"},
		"neither":  {func(d *resourcev1.DeviceClaim) { d.Requests[0].Exactly = nil }, "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"},
		"twice": {func(d *resourcev1.DeviceClaim) { d.Requests = append(d.Requests, d.Requests[0]) },
			`spec.devices.requests[1]: Duplicate value: "gpu"`},
		"too many": {func(d *resourcev1.DeviceClaim) { d.Requests = make([]resourcev1.DeviceRequest, 33) },
			"spec.devices.requests: Too many: 33: must have at most 32 items"},
		"all and a count": {func(d *resourcev1.DeviceClaim) {
			d.Requests[0].Exactly.AllocationMode, d.Requests[0].Exactly.Count = resourcev1.DeviceAllocationModeAll, 2
		}, "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'"},
		"negative": {func(d *resourcev1.DeviceClaim) { d.Requests[0].Exactly.Count = -1 },
			"spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"},
		"mode": {func(d *resourcev1.DeviceClaim) { d.Requests[0].Exactly.AllocationMode = "Some" },
			`spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"`},
		"selector": {func(d *resourcev1.DeviceClaim) { d.Requests[0].Exactly.Selectors = []resourcev1.DeviceSelector{{}} },
			"spec.devices.requests[0].exactly.selectors[0].cel: Required value"},
		"constraint": {func(d *resourcev1.DeviceClaim) {
			d.Constraints = []resourcev1.DeviceConstraint{{Requests: []string{"nic"}, MatchAttribute: ptr.To(resourcev1.FullyQualifiedName("numa"))}}
		}, "spec.devices.constraints[0].requests[0]: Invalid value: \"nic\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'\n" +
			`spec.devices.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash`},
		"configuration": {func(d *resourcev1.DeviceClaim) {
			d.Config = []resourcev1.DeviceClaimConfiguration{{}, {DeviceConfiguration: resourcev1.DeviceConfiguration{
				Opaque: &resourcev1.OpaqueDeviceConfiguration{Driver: "d.example.com", Parameters: runtime.RawExtension{Raw: []byte("[]")}}}}}
		}, "spec.devices.config[0].opaque: Required value\nspec.devices.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object"},
		"toleration": {func(d *resourcev1.DeviceClaim) {
			d.Requests[0].Exactly.Tolerations = []resourcev1.DeviceToleration{{Operator: resourcev1.DeviceTolerationOpExists, Value: "x"}, {Effect: "No"}}
		}, "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`\n" +
			`spec.devices.requests[0].exactly.tolerations[1].effect: Unsupported value: "No": supported values: "NoExecute", "NoSchedule", "None"`},
	} {
		if got := told(validateClaim(claim(c.change))); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
	old, changed := claim(nil), claim(func(d *resourcev1.DeviceClaim) { d.Requests[0].Exactly.Count = 5 })
	if got := told(validateClaimUpdate(changed, old)); !strings.HasPrefix(got, "spec: Invalid value: ") || !strings.HasSuffix(got, "field is immutable") {
		t.Errorf("a changed spec: %s", got)
	}
	if got := told(validateClaimUpdate(old, old)); got != "" {
		t.Error(got)
	}
}

func TestClassesAndTemplates(t *testing.T) {
	c := &resourcev1.DeviceClass{Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("gpu")}}
	if got := told(validateClass(c)); got != `spec.extendedResourceName: Invalid value: "gpu": must be a valid extended resource name` {
		t.Error(got)
	}
	c.Spec = resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu"), Config: []resourcev1.DeviceClassConfiguration{{}}}
	if got := told(validateClassUpdate(c, c)); got != "spec.config[0].opaque: Required value" {
		t.Error(got)
	}
	tmpl := &resourcev1.ResourceClaimTemplate{Spec: resourcev1.ResourceClaimTemplateSpec{Spec: claim(func(d *resourcev1.DeviceClaim) { d.Requests[0].Name = "-" }).Spec}}
	tmpl.Spec.Name = "x"
	if got := told(validateTemplate(tmpl)); !strings.HasPrefix(got, "spec.metadata.name: Forbidden: cannot be set\n") {
		t.Error(got)
	}
	tmpl.Spec.Name = ""
	if got := told(validateTemplate(tmpl)); !strings.HasPrefix(got, `spec.spec.devices.requests[0].name: Invalid value: "-": a lowercase RFC 1123 label`) {
		t.Error(got)
	}
}
