package resource

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// What is checked here, and in which words, is pkg/apis/resource/validation of
// Kubernetes.

func validateClaim(c *resourcev1.ResourceClaim) field.ErrorList {
	return judgeSpec(&c.Spec, field.NewPath("spec"))
}

// validateClaimUpdate wants the spec as it was; what it was is not judged again.
func validateClaimUpdate(c, old *resourcev1.ResourceClaim) field.ErrorList {
	return row.Immutable(c.Spec, old.Spec, field.NewPath("spec"))
}

func validateTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	path := field.NewPath("spec")
	errs := apivalidation.ValidateAnnotations(t.Spec.Annotations, path.Child("metadata", "annotations"))
	errs = append(errs, metav1validation.ValidateLabels(t.Spec.Labels, path.Child("metadata", "labels"))...)
	// Labels and annotations are all that claims are given.
	rest := t.Spec.ObjectMeta
	rest.Labels, rest.Annotations = nil, nil
	v := reflect.ValueOf(rest)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name := v.Type().Field(i).Name
			errs = append(errs, field.Forbidden(path.Child("metadata", strings.ToLower(name[:1])+name[1:]), "cannot be set"))
		}
	}
	return append(errs, judgeSpec(&t.Spec.Spec, path.Child("spec"))...)
}

func validateTemplateUpdate(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	return append(validateTemplate(t), row.Immutable(t.Spec, old.Spec, field.NewPath("spec"))...)
}

func validateClass(c *resourcev1.DeviceClass) field.ErrorList { return judgeClass(c, nil) }

func validateClassUpdate(c, old *resourcev1.DeviceClass) field.ErrorList { return judgeClass(c, old) }

func judgeClass(c, old *resourcev1.DeviceClass) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	selectors(&l, c.Spec.Selectors, path.Child("selectors"), old != nil && row.Same(c.Spec.Selectors, old.Spec.Selectors))
	stored := old != nil && row.Same(c.Spec.Config, old.Spec.Config)
	each(&l, c.Spec.Config, resourcev1.DeviceConfigMaxSize, path.Child("config"), func(x *resourcev1.DeviceClassConfiguration, at *field.Path) {
		configuration(&l, &x.DeviceConfiguration, at, stored)
	})
	if n := c.Spec.ExtendedResourceName; n != nil && !extended(*n) {
		l.Invalid(path.Child("extendedResourceName"), *n, "must be a valid extended resource name")
	}
	return l.Errors()
}

// extended tells whether a name is that of a resource which a node may have besides
// Kubernetes' own.
func extended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, "kubernetes.io/") && !strings.HasPrefix(name, "requests.") &&
		len(validation.IsQualifiedName("requests."+name)) == 0
}

// each judges the items of a list that may have so many; a longer one is not looked at.
func each[T any](l *rules.List, items []T, most int, path *field.Path, judge func(item *T, at *field.Path)) bool {
	if len(items) > most {
		l.Add(field.TooMany(path, len(items), most))
		return false
	}
	for i := range items {
		judge(&items[i], path.Index(i))
	}
	return true
}

// set is each of a list whose items differ in their keys.
func set[T any](l *rules.List, items []T, most int, path *field.Path, key func(*T) string, judge func(item *T, at *field.Path)) {
	if !each(l, items, most, path, judge) {
		return
	}
	seen := map[string]bool{}
	for i := range items {
		k := key(&items[i])
		if seen[k] {
			l.Duplicate(path.Index(i), k)
		}
		seen[k] = true
	}
}

func itself(s *string) string { return *s }

// names are those of a claim's requests, and of the requests within them.
type names map[string][]string

func namesOf(d *resourcev1.DeviceClaim) names {
	n := names{}
	for i := range d.Requests {
		r := &d.Requests[i]
		n[r.Name] = nil
		for k := range r.FirstAvailable {
			n[r.Name] = append(n[r.Name], r.FirstAvailable[k].Name)
		}
	}
	return n
}

func (n names) has(ref string) bool {
	first, second, within := strings.Cut(ref, "/")
	subs, ok := n[first]
	return ok && (!within || slices.Contains(subs, second))
}

func judgeSpec(spec *resourcev1.ResourceClaimSpec, path *field.Path) field.ErrorList {
	var l rules.List
	d, path := &spec.Devices, path.Child("devices")
	known := namesOf(d)
	set(&l, d.Requests, resourcev1.DeviceRequestsMaxSize, path.Child("requests"),
		func(r *resourcev1.DeviceRequest) string { return r.Name },
		func(r *resourcev1.DeviceRequest, at *field.Path) { request(&l, r, at) })
	each(&l, d.Constraints, resourcev1.DeviceConstraintsMaxSize, path.Child("constraints"), func(c *resourcev1.DeviceConstraint, at *field.Path) {
		references(&l, c.Requests, at.Child("requests"), known)
		switch {
		case c.MatchAttribute != nil:
			attribute(&l, string(*c.MatchAttribute), at.Child("matchAttribute"))
		case c.DistinctAttribute != nil:
			attribute(&l, string(*c.DistinctAttribute), at.Child("distinctAttribute"))
		default:
			l.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
		}
	})
	each(&l, d.Config, resourcev1.DeviceConfigMaxSize, path.Child("config"), func(c *resourcev1.DeviceClaimConfiguration, at *field.Path) {
		references(&l, c.Requests, at.Child("requests"), known)
		configuration(&l, &c.DeviceConfiguration, at, false)
	})
	return l.Errors()
}

func references(l *rules.List, refs []string, path *field.Path, known names) {
	set(l, refs, resourcev1.DeviceRequestsMaxSize, path, itself, func(ref *string, at *field.Path) { reference(l, *ref, at, known) })
}

func reference(l *rules.List, ref string, path *field.Path, known names) {
	const what = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(ref, "/")
	if len(parts) > 2 {
		l.Invalid(path, ref, what)
		return
	}
	for _, p := range parts {
		l.Messages(path, p, validation.IsDNS1123Label(p))
	}
	if !known.has(ref) {
		l.Invalid(path, ref, what)
	}
}

func request(l *rules.List, r *resourcev1.DeviceRequest, path *field.Path) {
	l.Messages(path.Child("name"), r.Name, validation.IsDNS1123Label(r.Name))
	switch {
	case r.Exactly == nil && len(r.FirstAvailable) == 0:
		l.Required(path, "exactly one of `exactly` or `firstAvailable` is required")
	case r.Exactly != nil && len(r.FirstAvailable) > 0:
		l.Invalid(path, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case r.Exactly != nil:
		e := r.Exactly
		wanted(l, e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, path.Child("exactly"))
	default:
		set(l, r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, path.Child("firstAvailable"),
			func(s *resourcev1.DeviceSubRequest) string { return s.Name },
			func(s *resourcev1.DeviceSubRequest, at *field.Path) {
				l.Messages(at.Child("name"), s.Name, validation.IsDNS1123Label(s.Name))
				wanted(l, s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, at)
			})
	}
}

func wanted(l *rules.List, class string, sel []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64, tolerations []resourcev1.DeviceToleration, path *field.Path) {
	if at := path.Child("deviceClassName"); class == "" {
		l.Required(at, "")
	} else {
		l.Messages(at, class, validation.IsDNS1123Subdomain(class))
	}
	selectors(l, sel, path.Child("selectors"), false)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			l.Invalid(path.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			l.Invalid(path.Child("count"), count, "must be greater than zero")
		}
	default:
		l.Add(field.NotSupported(path.Child("allocationMode"), mode, []resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}))
	}
	for i := range tolerations {
		toleration(l, &tolerations[i], path.Child("tolerations").Index(i))
	}
}

func selectors(l *rules.List, list []resourcev1.DeviceSelector, path *field.Path, stored bool) {
	each(l, list, resourcev1.DeviceSelectorsMaxSize, path, func(s *resourcev1.DeviceSelector, at *field.Path) {
		switch {
		case s.CEL == nil:
			l.Required(at.Child("cel"), "")
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			l.TooLong(at.Child("cel", "expression"), resourcev1.CELSelectorExpressionMaxLength)
		default:
			compile(l, s.CEL.Expression, at.Child("cel", "expression"), stored)
		}
	})
}

func configuration(l *rules.List, c *resourcev1.DeviceConfiguration, path *field.Path, stored bool) {
	at := path.Child("opaque")
	if c.Opaque == nil {
		l.Required(at, "")
		return
	}
	driver(l, c.Opaque.Driver, at.Child("driver"))
	object(l, c.Opaque.Parameters.Raw, resourcev1.OpaqueParametersMaxLength, at.Child("parameters"), stored)
}

func driver(l *rules.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
		return
	}
	if len(name) > resourcev1.DriverNameMaxLength {
		l.TooLong(path, resourcev1.DriverNameMaxLength)
	}
	l.Messages(path, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
}

// object judges what is an object of whatever members; one that is stored may be longer
// than most.
func object(l *rules.List, raw []byte, most int, path *field.Path, stored bool) {
	var v any
	switch {
	case len(raw) == 0:
		l.Required(path, "")
		return
	case !stored && len(raw) > most:
		l.TooLong(path, most)
		return
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		l.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))
		return
	}
	if v == nil {
		l.Required(path, "")
	} else if _, ok := v.(map[string]any); !ok {
		l.Invalid(path, "<value omitted>", "must be a valid JSON object")
	}
}

// attribute is a name with the domain that it belongs to.
func attribute(l *rules.List, name string, path *field.Path) {
	qualified(l, name, path)
	if !strings.Contains(name, "/") {
		l.Invalid(path, resourcev1.FullyQualifiedName(name), "a fully qualified name must be a domain and a name separated by a slash")
	}
}

func identifier(l *rules.List, id string, path *field.Path) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		l.TooLong(path, resourcev1.DeviceMaxIDLength)
	}
	l.Messages(path, id, content.IsCIdentifier(id))
}

func toleration(l *rules.List, t *resourcev1.DeviceToleration, path *field.Path) {
	if t.Key != "" {
		l.Add(metav1validation.ValidateLabelName(t.Key, path.Child("key"))...)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			l.Invalid(path.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		l.Messages(path.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))
	case "":
		l.Required(path.Child("operator"), "")
	default:
		l.Add(field.NotSupported(path.Child("operator"), t.Operator, []resourcev1.DeviceTolerationOperator{resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists}))
	}
	if t.Effect != "" {
		rules.Supported(l, path.Child("effect"), t.Effect, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)
	}
}
