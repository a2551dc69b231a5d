package resource

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func validateSlice(s *resourcev1.ResourceSlice) field.ErrorList { return judgeSlice(s, nil) }

func validateSliceUpdate(s, old *resourcev1.ResourceSlice) field.ErrorList {
	return judgeSlice(s, &old.Spec)
}

// judgeSlice judges a slice that takes the place of old, if that is not nil.
func judgeSlice(s *resourcev1.ResourceSlice, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	var l rules.List
	spec, path := &s.Spec, field.NewPath("spec")
	driver(&l, spec.Driver, path.Child("driver"))
	pool := path.Child("pool")
	poolName(&l, spec.Pool.Name, pool.Child("name"))
	if n := spec.Pool.ResourceSliceCount; n <= 0 {
		l.Invalid(pool.Child("resourceSliceCount"), n, "must be greater than zero")
	}
	if n := spec.Pool.Generation; n < 0 {
		l.Invalid(pool.Child("generation"), n, "must be greater than or equal to zero")
	}
	if old != nil {
		l.Add(rules.Immutable(spec.Pool.Name, old.Pool.Name, pool.Child("name"))...)
		l.Add(rules.Immutable(spec.Driver, old.Driver, path.Child("driver"))...)
		l.Add(rules.Immutable(spec.NodeName, old.NodeName, path.Child("nodeName"))...)
	}
	sliceNodes(&l, spec, path)
	if spec.SharedCounters != nil && spec.Devices != nil {
		l.Invalid(path, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	set(&l, spec.Devices, mostDevices(spec), path.Child("devices"),
		func(d *resourcev1.Device) string { return d.Name },
		func(d *resourcev1.Device, at *field.Path) {
			device(&l, d, deviceOf(old, d.Name), ptr.Deref(spec.PerDeviceNodeSelection, false), at)
		})
	set(&l, spec.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, path.Child("sharedCounters"),
		func(c *resourcev1.CounterSet) string { return c.Name },
		func(c *resourcev1.CounterSet, at *field.Path) {
			counters(&l, c.Name, at.Child("name"), c.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, at.Child("counters"))
		})
	return l.Errors()
}

// choice collects which of several fields that exclude each other are set.
type choice []string

func (c *choice) set(name string) { *c = append(*c, "`"+name+"`") }

// one says what is wrong unless exactly one is set.
func (c choice) one(l *rules.List, path *field.Path, none, many string) {
	switch len(c) {
	case 0:
		l.Required(path, none)
	case 1:
	default:
		l.Invalid(path, "{"+strings.Join(c, ", ")+"}", many)
	}
}

func sliceNodes(l *rules.List, spec *resourcev1.ResourceSliceSpec, path *field.Path) {
	var c choice
	if n := spec.NodeName; n != nil {
		if *n == "" {
			l.Invalid(path.Child("nodeName"), *n, "must be either unset or set to a non-empty string")
		} else {
			c.set("nodeName")
			l.Messages(path.Child("nodeName"), *n, rules.DNSSubdomain(*n, false))
		}
	}
	if s := spec.NodeSelector; s != nil {
		c.set("nodeSelector")
		l.Add(core.ValidateNodeSelector(s, path.Child("nodeSelector"))...)
		if len(s.NodeSelectorTerms) != 1 {
			l.Invalid(path.Child("nodeSelector", "nodeSelectorTerms"), rules.Internal(s.NodeSelectorTerms), "must have exactly one node selector term")
		}
	}
	for _, f := range []struct {
		name  string
		value *bool
	}{{"allNodes", spec.AllNodes}, {"perDeviceNodeSelection", spec.PerDeviceNodeSelection}} {
		onlyTrue(l, &c, f.name, f.value, path)
	}
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	c.one(l, path, one, one+", but multiple fields are set")
}

func onlyTrue(l *rules.List, c *choice, name string, value *bool, path *field.Path) {
	switch {
	case value == nil:
	case *value:
		c.set(name)
	default:
		l.Invalid(path.Child(name), *value, "must be either unset or set to true")
	}
}

// mostDevices is how many devices a slice may have: fewer if they have what costs more.
func mostDevices(spec *resourcev1.ResourceSliceSpec) int {
	for i := range spec.Devices {
		if d := &spec.Devices[i]; len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

func deviceOf(spec *resourcev1.ResourceSliceSpec, name string) *resourcev1.Device {
	if spec == nil {
		return nil
	}
	for i := range spec.Devices {
		if spec.Devices[i].Name == name {
			return &spec.Devices[i]
		}
	}
	return nil
}

func poolName(l *rules.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		l.TooLong(path, resourcev1.PoolNameMaxLength)
	}
	for _, part := range strings.Split(name, "/") {
		l.Messages(path, part, validation.IsDNS1123Subdomain(part))
	}
}

// counters judges a set of counters, or what a device takes of one, and its name.
func counters(l *rules.List, name string, at *field.Path, list map[string]resourcev1.Counter, most int, path *field.Path) {
	if name == "" {
		l.Required(at, "")
	} else {
		l.Messages(at, name, validation.IsDNS1123Label(name))
	}
	switch {
	case len(list) == 0:
		l.Required(path, "")
	case len(list) > most:
		l.Add(field.TooMany(path, len(list), most))
	default:
		for k := range list {
			l.Messages(path, k, validation.IsDNS1123Label(k))
		}
	}
}

func device(l *rules.List, d, old *resourcev1.Device, choosesNodes bool, path *field.Path) {
	l.Messages(path.Child("name"), d.Name, validation.IsDNS1123Label(d.Name))
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		l.Invalid(path, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	for name, a := range d.Attributes {
		qualified(l, string(name), path.Child("attributes"))
		attributeValue(l, &a, keyed(path.Child("attributes"), string(name)))
	}
	for name, c := range d.Capacity {
		qualified(l, string(name), path.Child("capacity"))
		capacity(l, &c, ptr.Deref(d.AllowMultipleAllocations, false), keyed(path.Child("capacity"), string(name)).Child("requestPolicy"))
	}
	if old == nil || !row.Same(old.Taints, d.Taints) {
		each(l, d.Taints, resourcev1.DeviceTaintsMaxLength, path.Child("taints"), func(t *resourcev1.DeviceTaint, at *field.Path) { taint(l, t, at) })
	}
	set(l, d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, path.Child("consumesCounters"),
		func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
		func(c *resourcev1.DeviceCounterConsumption, at *field.Path) {
			counters(l, c.CounterSet, at.Child("counterSet"), c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("counters"))
		})
	deviceNodes(l, d, choosesNodes, path)
	bindings(l, d.BindingConditions, d.BindingFailureConditions, path)
}

func deviceNodes(l *rules.List, d *resourcev1.Device, chooses bool, path *field.Path) {
	if !chooses {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			l.Invalid(path, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
		return
	}
	var c choice
	if n := d.NodeName; n != nil {
		if *n == "" {
			l.Invalid(path.Child("nodeName"), *n, "must not be empty")
		} else {
			c.set("nodeName")
			l.Messages(path.Child("nodeName"), *n, rules.DNSSubdomain(*n, false))
		}
	}
	if d.NodeSelector != nil {
		c.set("nodeSelector")
		l.Add(core.ValidateNodeSelector(d.NodeSelector, path.Child("nodeSelector"))...)
	}
	onlyTrue(l, &c, "allNodes", d.AllNodes, path)
	const one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	c.one(l, path, one, one)
}

// keyed is the path of a member of a map; a long key is cut in its middle.
func keyed(path *field.Path, key string) *field.Path {
	const most = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength
	const dots = "..."
	if len(key) > most {
		rest := most - len(dots)
		key = key[:(rest+1)/2] + dots + key[len(key)-rest/2:]
	}
	return path.Key(key)
}

// qualified judges a name that may stand in a domain.
func qualified(l *rules.List, name string, path *field.Path) {
	parts := strings.Split(name, "/")
	switch len(parts) {
	case 1:
		identifier(l, parts[0], path)
	case 2:
		if parts[0] == "" {
			l.Invalid(path, "", "the domain must not be empty")
		} else {
			driver(l, parts[0], path)
		}
		if parts[1] == "" {
			l.Invalid(path, "", "the name must not be empty")
		} else {
			identifier(l, parts[1], path)
		}
	}
}

// semver is what semver.org calls a version.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func attributeValue(l *rules.List, a *resourcev1.DeviceAttribute, path *field.Path) {
	n := 0
	for _, is := range []bool{a.BoolValue != nil, a.IntValue != nil, a.StringValue != nil, a.VersionValue != nil} {
		if is {
			n++
		}
	}
	if s := a.StringValue; s != nil && len(*s) > resourcev1.DeviceAttributeMaxValueLength {
		l.TooLong(path.Child("string"), resourcev1.DeviceAttributeMaxValueLength)
	}
	if v := a.VersionValue; v != nil {
		if !semver.MatchString(*v) {
			l.Invalid(path.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0")
		}
		if len(*v) > resourcev1.DeviceAttributeMaxValueLength {
			l.TooLong(path.Child("version"), resourcev1.DeviceAttributeMaxValueLength)
		}
	}
	const one = "exactly one value must be specified"
	switch n {
	case 0:
		l.Invalid(path, "", one)
	case 1:
	default:
		l.Invalid(path, rules.Internal(*a), one)
	}
}

func capacity(l *rules.List, c *resourcev1.DeviceCapacity, shared bool, path *field.Path) {
	p := c.RequestPolicy
	switch {
	case p == nil:
	case !shared:
		l.Forbidden(path, "allowMultipleAllocations must be true")
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		l.Forbidden(path, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
	case len(p.ValidValues) > 0:
		if p.Default == nil {
			l.Required(path.Child("default"), "required when validValues is defined")
		} else {
			validValues(l, *p.Default, c.Value, p.ValidValues, path.Child("validValues"))
		}
	case p.ValidRange != nil:
		if p.Default == nil {
			l.Required(path.Child("default"), "required when validRange is defined")
		} else {
			validRange(l, *p.Default, c.Value, p.ValidRange, path.Child("validRange"))
		}
	}
}

// maxValidValues is how many values a policy may list.
const maxValidValues = 10

func validValues(l *rules.List, byDefault, most resource.Quantity, values []resource.Quantity, path *field.Path) {
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			l.Invalid(path.Index(i), values[i].String(), "values must be sorted in ascending order")
		}
	}
	found := false
	set(l, values, maxValidValues, path,
		func(q *resource.Quantity) string { return strconv.FormatInt(q.Value(), 10) },
		func(q *resource.Quantity, at *field.Path) {
			if q.Cmp(most) > 0 {
				l.Invalid(at, q.String(), "option is larger than capacity value: "+most.String())
			}
			found = found || q.Cmp(byDefault) == 0
		})
	if !found {
		l.Invalid(path, byDefault.String(), "default value is not valid according to the requestPolicy")
	}
}

func validRange(l *rules.List, byDefault, most resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, path *field.Path) {
	if r.Min == nil {
		l.Required(path.Child("min"), "required when validRange is defined")
		return
	}
	low, high, step := path.Child("min"), path.Child("max"), path.Child("step")
	if r.Min.Cmp(most) > 0 {
		l.Invalid(low, r.Min.String(), "min is larger than capacity value: "+most.String())
	}
	if byDefault.Cmp(*r.Min) < 0 {
		l.Invalid(low, byDefault.String(), "default is less than min: "+r.Min.String())
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			l.Invalid(high, r.Min.String(), "min is larger than max: "+r.Max.String())
		}
		if r.Max.Cmp(most) > 0 {
			l.Invalid(high, r.Max.String(), "max is larger than capacity value: "+most.String())
		}
		if byDefault.Cmp(*r.Max) > 0 {
			l.Invalid(high, byDefault.String(), "default is more than max: "+r.Max.String())
		}
	}
	if r.Step == nil {
		return
	}
	first := r.Min.DeepCopy()
	first.Add(*r.Step)
	if first.Cmp(most) > 0 {
		l.Invalid(step, r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", first.String(), most.String()))
	}
	multiple := func(q resource.Quantity) {
		// Kubernetes divides by a step of zero and answers with an internal error.
		if s := r.Step.Value(); s != 0 && (q.Value()-r.Min.Value())%s != 0 {
			l.Invalid(step, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))
		}
	}
	multiple(byDefault)
	if r.Max != nil {
		multiple(*r.Max)
	}
}

func taint(l *rules.List, t *resourcev1.DeviceTaint, path *field.Path) {
	l.Add(metav1validation.ValidateLabelName(t.Key, path.Child("key"))...)
	if t.Value != "" {
		l.Messages(path.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))
	}
	rules.SupportedOrRequired(l, path.Child("effect"), t.Effect, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)
}

func bindings(l *rules.List, conditions, failures []string, path *field.Path) {
	a, b := path.Child("bindingConditions"), path.Child("bindingFailureConditions")
	label := func(s *string, at *field.Path) { l.Add(metav1validation.ValidateLabelName(*s, at)...) }
	each(l, conditions, resourcev1.BindingConditionsMaxSize, a, label)
	each(l, failures, resourcev1.BindingFailureConditionsMaxSize, b, label)
	seen, failed := map[string]bool{}, map[string]bool{}
	for i, c := range conditions {
		if seen[c] {
			l.Duplicate(a.Index(i), c)
		}
		seen[c] = true
	}
	for i, c := range failures {
		if failed[c] {
			l.Duplicate(b.Index(i), c)
		}
		failed[c] = true
		if seen[c] {
			l.Invalid(b.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(conditions) == 0 && len(failures) > 0 {
		l.Invalid(a, conditions, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(failures) == 0 && len(conditions) > 0 {
		l.Invalid(b, failures, "bindingFailureConditions are required to use bindingConditions")
	}
}

// dropSlice drops what Kubernetes drops while its gates DRAListTypeAttributes and
// DRANodeAllocatableResources are off, unless old has it.
func dropSlice(s, old *resourcev1.ResourceSlice) {
	keepLists, keepMappings := false, false
	if old != nil {
		for i := range old.Spec.Devices {
			d := &old.Spec.Devices[i]
			keepMappings = keepMappings || len(d.NodeAllocatableResourceMappings) > 0
			for _, a := range d.Attributes {
				keepLists = keepLists || a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil
			}
		}
	}
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		if !keepMappings {
			d.NodeAllocatableResourceMappings = nil
		}
		for k, a := range d.Attributes {
			if !keepLists && (a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil) {
				a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[k] = a
			}
		}
	}
}
