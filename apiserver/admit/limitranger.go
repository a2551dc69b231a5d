package admit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

// LimitRanger gives containers the resources that a namespace's LimitRanges set by
// default, and refuses pods and claims outside of their bounds.
type LimitRanger struct{ reader }

// Name implements admission.Plugin.
func (*LimitRanger) Name() string { return "LimitRanger" }

// concerns tells whether limits apply: to new pods, their resizing, and claims.
func concerns(r *admission.Request) bool {
	if r.Old != nil && r.Old.GetDeletionTimestamp() != nil {
		return false
	}
	switch r.Object.(type) {
	case *v1.Pod:
		return is(r, "", "pods", admission.Create) || r.Operation == admission.Update && r.Subresource == "resize"
	case *v1.PersistentVolumeClaim:
		return is(r, "", "persistentvolumeclaims", admission.Create, admission.Update)
	}
	return false
}

func (l *LimitRanger) each(namespace string, f func(*v1.LimitRange) error) error {
	var err error
	l.Each(limitRanges, namespace, func(o kinds.Object) bool {
		if lr, ok := o.(*v1.LimitRange); ok {
			err = f(lr)
		}
		return err == nil
	})
	return err
}

// Admit implements admission.Mutator.
func (l *LimitRanger) Admit(_ context.Context, r *admission.Request) error {
	p, ok := r.Object.(*v1.Pod)
	if !ok || !concerns(r) {
		return nil
	}
	return l.each(r.Namespace, func(lr *v1.LimitRange) error {
		applyDefaults(lr, p)
		return nil
	})
}

// applyDefaults fills in what containers leave out, and notes it on the pod.
func applyDefaults(lr *v1.LimitRange, p *v1.Pod) {
	requests, limits := v1.ResourceList{}, v1.ResourceList{}
	for i := range lr.Spec.Limits {
		if lr.Spec.Limits[i].Type == v1.LimitTypeContainer {
			maps.Copy(requests, lr.Spec.Limits[i].DefaultRequest)
			maps.Copy(limits, lr.Spec.Limits[i].Default)
		}
	}
	var notes []string
	merge := func(list []v1.Container, what string) {
		for i := range list {
			c := &list[i]
			if set := fill(&c.Resources.Requests, requests); set != "" {
				notes = append(notes, set+" request for "+what+" "+c.Name)
			}
			if set := fill(&c.Resources.Limits, limits); set != "" {
				notes = append(notes, set+" limit for "+what+" "+c.Name)
			}
		}
	}
	merge(p.Spec.Containers, "container")
	merge(p.Spec.InitContainers, "init container")
	if len(notes) == 0 {
		return
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations["kubernetes.io/limit-ranger"] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

// fill adds what is missing and lists its names.
func fill(to *v1.ResourceList, defaults v1.ResourceList) string {
	var set []string
	for k, v := range defaults {
		if _, has := (*to)[k]; has {
			continue
		}
		if *to == nil {
			*to = v1.ResourceList{}
		}
		(*to)[k] = v.DeepCopy()
		set = append(set, string(k))
	}
	sort.Strings(set)
	return strings.Join(set, ", ")
}

// Validate implements admission.Validator.
func (l *LimitRanger) Validate(_ context.Context, r *admission.Request) error {
	if !concerns(r) {
		return nil
	}
	return l.each(r.Namespace, func(lr *v1.LimitRange) error {
		var errs []error
		switch o := r.Object.(type) {
		case *v1.Pod:
			errs = judgePod(lr, o)
		case *v1.PersistentVolumeClaim:
			errs = judgeClaim(lr, o)
		}
		if len(errs) > 0 {
			return forbid(r, utilerrors.NewAggregate(errs))
		}
		return nil
	})
}

func judgeClaim(lr *v1.LimitRange, c *v1.PersistentVolumeClaim) (errs []error) {
	for i := range lr.Spec.Limits {
		l := &lr.Spec.Limits[i]
		if l.Type != v1.LimitTypePersistentVolumeClaim {
			continue
		}
		each(l.Min, func(n v1.ResourceName, q resource.Quantity) {
			errs = add(errs, atLeast(l.Type, n, q, c.Spec.Resources.Requests, nil))
		})
		each(l.Max, func(n v1.ResourceName, q resource.Quantity) {
			errs = add(errs, requestAtMost(l.Type, n, q, c.Spec.Resources.Requests))
		})
	}
	return errs
}

func judgePod(lr *v1.LimitRange, p *v1.Pod) (errs []error) {
	for i := range lr.Spec.Limits {
		l := &lr.Spec.Limits[i]
		judge := func(requests, limits v1.ResourceList) {
			each(l.Min, func(n v1.ResourceName, q resource.Quantity) {
				errs = add(errs, atLeast(l.Type, n, q, requests, limits))
			})
			each(l.Max, func(n v1.ResourceName, q resource.Quantity) { errs = add(errs, atMost(l.Type, n, q, requests, limits)) })
			each(l.MaxLimitRequestRatio, func(n v1.ResourceName, q resource.Quantity) { errs = add(errs, ratio(l.Type, n, q, requests, limits)) })
		}
		switch l.Type {
		case v1.LimitTypeContainer:
			for j := range p.Spec.Containers {
				judge(p.Spec.Containers[j].Resources.Requests, p.Spec.Containers[j].Resources.Limits)
			}
			for j := range p.Spec.InitContainers {
				judge(p.Spec.InitContainers[j].Resources.Requests, p.Spec.InitContainers[j].Resources.Limits)
			}
		case v1.LimitTypePod:
			o := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
			judge(resourcehelper.PodRequests(p, o), resourcehelper.PodLimits(p, o))
		}
	}
	return errs
}

// each visits a list in the order of names, so that messages are the same each time.
func each(list v1.ResourceList, f func(v1.ResourceName, resource.Quantity)) {
	for _, n := range slices.Sorted(maps.Keys(list)) {
		f(n, list[n])
	}
}

func add(errs []error, err error) []error {
	if err != nil {
		return append(errs, err)
	}
	return errs
}

// comparable numbers of three quantities, in thousandths where that fits.
func numbers(a, b, c resource.Quantity) (x, y, z int64) {
	x, y, z = a.Value(), b.Value(), c.Value()
	if x <= resource.MaxMilliValue && y <= resource.MaxMilliValue && z <= resource.MaxMilliValue {
		return a.MilliValue(), b.MilliValue(), c.MilliValue()
	}
	return x, y, z
}

func atLeast(t v1.LimitType, n v1.ResourceName, q resource.Quantity, requests, limits v1.ResourceList) error {
	req, hasReq := requests[n]
	lim, hasLim := limits[n]
	r, l, e := numbers(req, lim, q)
	switch {
	case !hasReq:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", n, t, q.String())
	case r < e:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", n, t, q.String(), req.String())
	case hasLim && l < e:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", n, t, q.String(), lim.String())
	}
	return nil
}

func requestAtMost(t v1.LimitType, n v1.ResourceName, q resource.Quantity, requests v1.ResourceList) error {
	req, has := requests[n]
	r, _, e := numbers(req, resource.Quantity{}, q)
	switch {
	case !has:
		return fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", n, t, q.String())
	case r > e:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", n, t, q.String(), req.String())
	}
	return nil
}

func atMost(t v1.LimitType, n v1.ResourceName, q resource.Quantity, requests, limits v1.ResourceList) error {
	req, hasReq := requests[n]
	lim, hasLim := limits[n]
	r, l, e := numbers(req, lim, q)
	switch {
	case !hasLim:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", n, t, q.String())
	case l > e:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", n, t, q.String(), lim.String())
	case hasReq && r > e:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", n, t, q.String(), req.String())
	}
	return nil
}

func ratio(t v1.LimitType, n v1.ResourceName, q resource.Quantity, requests, limits v1.ResourceList) error {
	req, hasReq := requests[n]
	lim, hasLim := limits[n]
	r, l, _ := numbers(req, lim, q)
	if !hasReq || r == 0 {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", n, t, q.String())
	}
	if !hasLim || l == 0 {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", n, t, q.String())
	}
	observed := float64(l) / float64(r)
	compared, bound := observed, float64(q.Value())
	if q.Value() <= resource.MaxMilliValue {
		compared, bound = observed*1000, float64(q.MilliValue())
	}
	if compared > bound {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", n, t, q.String(), observed)
	}
	return nil
}
