package core

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"skiff.dev/skiff/kinds/rules"
)

var (
	// standardResources are the names without a domain that mean something.
	standardResources = set[v1.ResourceName]("cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
		"requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas",
		"services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "storage",
		"requests.storage", "services.nodeports", "services.loadbalancers")
	// countedResources are numbers of objects.
	countedResources = set[v1.ResourceName]("pods", "resourcequotas", "services", "replicationcontrollers", "secrets",
		"configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers")
)

func set[T comparable](values ...T) map[T]bool {
	out := make(map[T]bool, len(values))
	for _, v := range values {
		out[v] = true
	}
	return out
}

// names lists resources in order, so that errors come in the same order each time.
func names(list v1.ResourceList) []v1.ResourceName {
	if len(list) == 0 {
		return nil
	}
	out := make([]v1.ResourceName, 0, len(list))
	for name := range list {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func isQuotaHugePages(name v1.ResourceName) bool {
	return isHugePages(name) || strings.HasPrefix(string(name), v1.ResourceRequestsHugePagesPrefix)
}

// isExtended says whether a resource is one that a node offers beyond Kubernetes'
// own.
func isExtended(name v1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), v1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(v1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// resourceName judges the name of any resource.
func resourceName(name v1.ResourceName, path *field.Path) field.ErrorList {
	if standardResources[name] {
		return nil
	}
	var l rules.List
	l.Messages(path, name, validation.IsQualifiedName(string(name)))
	if len(l) == 0 && !strings.Contains(string(name), "/") && !isQuotaHugePages(name) {
		l.Invalid(path, name, "must be a standard resource type or fully qualified")
	}
	return l.Errors()
}

// ValidateContainerResource judges the name of what a container may ask for.
func ValidateContainerResource(name v1.ResourceName, path *field.Path) field.ErrorList {
	return containerResourceName(name, path)
}

func containerResourceName(name v1.ResourceName, path *field.Path) field.ErrorList {
	if name == v1.ResourceCPU || name == v1.ResourceMemory || name == v1.ResourceEphemeralStorage {
		return nil
	}
	l := rules.List(resourceName(name, path))
	if !strings.Contains(string(name), "/") {
		if !isHugePages(name) {
			l.Invalid(path, name, "must be a standard resource for containers")
		}
	} else if !isNative(name) && !isExtended(name) {
		l.Invalid(path, name, "doesn't follow extended resource name standard")
	}
	return l.Errors()
}

func podResourceName(name v1.ResourceName, path *field.Path) field.ErrorList {
	if errs := resourceName(name, path); len(errs) > 0 {
		return errs
	}
	if resourcehelper.IsSupportedPodLevelResource(name) {
		return nil
	}
	supported := resourcehelper.SupportedPodLevelResources().UnsortedList()
	slices.Sort(supported)
	return field.ErrorList{field.NotSupported(path, name, supported)}
}

// resourceQuantity judges an amount of a resource.
func resourceQuantity(name v1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	errs := rules.NonNegativeQuantity(q, path)
	if (countedResources[name] || isExtended(name)) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

// pagesDivide says whether q is a number of whole pages.
func pagesDivide(name v1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), v1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 || size.MilliValue()%1000 != 0 || size.Value() == 0 {
		return false
	}
	return q.Value()%size.Value() == 0
}

// requirements judges requests and limits.
func (c *podCheck) requirements(r *v1.ResourceRequirements, nameRule func(v1.ResourceName, *field.Path) field.ErrorList, path *field.Path) {
	if r.Limits == nil && r.Requests == nil && r.Claims == nil {
		return
	}
	limits, requests := path.Child("limits"), path.Child("requests")
	pages, compute := false, false
	one := func(name v1.ResourceName, q resource.Quantity, at *field.Path) {
		c.Add(nameRule(name, at)...)
		c.Add(resourceQuantity(name, q, at)...)
		compute = compute || name == v1.ResourceCPU || name == v1.ResourceMemory
	}
	wholePages := func(name v1.ResourceName, q resource.Quantity, at *field.Path) {
		if !isHugePages(name) {
			return
		}
		pages = true
		if !c.allow.indivisiblePages && !pagesDivide(name, q) {
			c.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name))
		}
	}
	for _, name := range names(r.Limits) {
		q, at := r.Limits[name], limits.Key(string(name))
		one(name, q, at)
		wholePages(name, q, at)
	}
	for _, name := range names(r.Requests) {
		q, at := r.Requests[name], requests.Key(string(name))
		one(name, q, at)
		limit, limited := r.Limits[name]
		switch {
		case !limited && !overcommits(name):
			c.Required(limits, "Limit must be set for non overcommitable resources")
		case limited && !overcommits(name) && q.Cmp(limit) != 0:
			c.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String()))
		case limited && q.Cmp(limit) > 0:
			c.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String()))
		}
		wholePages(name, q, at)
	}
	if pages && !compute {
		c.Forbidden(path, "HugePages require cpu or memory")
	}
	c.claimNames(r.Claims, path.Child("claims"))
}

// ValidateContainerLimits judges limits that stand alone; path is their parent's.
func ValidateContainerLimits(limits v1.ResourceList, path *field.Path) field.ErrorList {
	c := podCheck{spec: &v1.PodSpec{}}
	c.requirements(&v1.ResourceRequirements{Limits: limits}, containerResourceName, path)
	return c.Errors()
}

func (c *podCheck) claimNames(list []v1.ResourceClaim, path *field.Path) {
	seen := map[string]bool{}
	for i, claim := range list {
		at := path.Index(i)
		if claim.Name == "" {
			c.Required(at, "")
			continue
		}
		c.claimRepeats(claim, seen, at)
		if !c.claims[claim.Name] {
			err := field.NotFound(at, claim.Name)
			err.Detail = "must be one of the names in pod.spec.resourceClaims which is empty"
			if len(c.claims) > 0 {
				var known []string
				for name := range c.claims {
					known = append(known, name)
				}
				slices.Sort(known)
				err.Detail = "must be one of the names in pod.spec.resourceClaims: " + strings.Join(known, ", ")
			}
			c.Add(err)
		}
	}
}

// claimRepeats refuses the same claim twice: a whole claim and one of its requests
// are the same, too.
func (c *podCheck) claimRepeats(claim v1.ResourceClaim, seen map[string]bool, path *field.Path) {
	if seen[claim.Name] {
		c.Duplicate(path, claim.Name)
		return
	}
	key := claim.Name
	if claim.Request != "" {
		c.Add(rules.DNSLabelField(claim.Request, path.Child("request"))...)
		key += "/" + claim.Request
	}
	if seen[key] {
		c.Duplicate(path, key)
	} else if claim.Request == "" {
		for other := range seen {
			if name, _, ok := strings.Cut(other, "/"); ok && name == claim.Name {
				c.Duplicate(path, claim.Name)
			}
		}
	}
	seen[key] = true
}

// resourceClaims judges spec.resourceClaims and remembers their names.
func (c *podCheck) resourceClaims(path *field.Path) {
	if len(c.spec.ResourceClaims) == 0 {
		return
	}
	c.claims = map[string]bool{}
	seen := map[string]bool{}
	for i, claim := range c.spec.ResourceClaims {
		if claim.Name != "" {
			c.claims[claim.Name] = true
		}
		at := path.Index(i)
		if isMirror(c.meta) {
			c.Forbidden(field.NewPath(""), "static pods do not support resource claims")
			continue
		}
		if claim.Name == "" {
			c.Required(at.Child("name"), "")
		} else if seen[claim.Name] {
			c.Duplicate(at.Child("name"), claim.Name)
		} else {
			c.Add(rules.DNSLabelField(claim.Name, at.Child("name"))...)
			seen[claim.Name] = true
		}
		if claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil {
			c.Invalid(at, rules.Internal(claim), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		}
		if claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil {
			c.Invalid(at, rules.Internal(claim), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if claim.ResourceClaimName != nil {
			c.Name(at.Child("resourceClaimName"), *claim.ResourceClaimName, rules.DNSSubdomain)
		}
		if claim.ResourceClaimTemplateName != nil {
			c.Name(at.Child("resourceClaimTemplateName"), *claim.ResourceClaimTemplateName, rules.DNSSubdomain)
		}
	}
}

func isMirror(meta *metav1.ObjectMeta) bool {
	if meta == nil {
		return false
	}
	_, ok := meta.Annotations[v1.MirrorPodAnnotationKey]
	return ok
}

// podResources judges spec.resources, which bound those of all containers.
func (c *podCheck) podResources(spec *field.Path) {
	r := c.spec.Resources
	if r == nil {
		return
	}
	path := spec.Child("resources")
	if c.spec.OS != nil && c.spec.OS.Name == v1.Windows {
		c.Forbidden(path, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		c.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	c.requirements(r, podResourceName, path)
	pod := &v1.Pod{Spec: *c.spec}
	sum := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range names(sum) {
		if whole, ok := r.Requests[name]; ok {
			if all := sum[name]; all.Cmp(whole) > 0 {
				c.Invalid(path.Child("requests").Key(string(name)), whole.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", all.String()))
			}
		}
	}
	sum = resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range names(sum) {
		if whole, ok := r.Limits[name]; ok && isHugePages(name) {
			if all := sum[name]; all.Cmp(whole) > 0 {
				c.Invalid(path.Child("limits").Key(string(name)), whole.String(), fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", all.String()))
			}
		}
	}
	for i := range c.spec.Containers {
		limits := c.spec.Containers[i].Resources.Limits
		for _, name := range names(limits) {
			if whole, ok := r.Limits[name]; ok {
				if limit := limits[name]; limit.Cmp(whole) > 0 {
					c.Invalid(path.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", whole.String()))
				}
			}
		}
	}
}

func sorted[T ~string](list []T) []T {
	slices.Sort(list)
	return list
}
