package custom

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	structurallisttype "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/warning"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// judge prepares and validates the objects of one version (pkg/registry/
// customresource, strategy.go, status_strategy.go and validator.go).
type judge struct {
	s          *schemas
	kind       schema.GroupVersionKind
	namespaced bool
	status     bool
	scale      *apiextensionsv1.CustomResourceSubresourceScale
}

func (j *judge) content(o kinds.Object) (map[string]any, error) {
	d, ok := o.(*dynamic.Object)
	if !ok {
		return nil, fmt.Errorf("has type %T", o)
	}
	return d.Content(j.kind.GroupVersion().String(), j.kind.Kind)
}

func (j *judge) prepareCreate(o kinds.Object) {
	if j.status {
		delete(fieldsOf(o), "status")
	}
}

func (j *judge) prepareUpdate(o, old kinds.Object) {
	if !j.status {
		return
	}
	fields := fieldsOf(o)
	if status, ok := fieldsOf(old)["status"]; ok {
		fields["status"] = status
	} else {
		delete(fields, "status")
	}
}

// prepareStatus lets a write of the status change nothing else.
func (j *judge) prepareStatus(obj, old kinds.Object) {
	o, was := obj.(*dynamic.Object), old.(*dynamic.Object)
	status, has := fieldsOf(o)["status"]
	managed := o.ManagedFields
	o.ObjectMeta = *was.ObjectMeta.DeepCopy()
	o.ManagedFields = managed
	o.Fields = maps.Clone(was.Fields)
	if has {
		fieldsOf(o)["status"] = status
	} else {
		delete(fieldsOf(o), "status")
	}
}

// rowChanged: everything but metadata counts for the generation.
func rowChanged(o, old kinds.Object) bool {
	return !equality.Semantic.DeepEqual(fieldsOf(o), fieldsOf(old))
}

// broken is the answer where the schema cannot be compiled.
func broken(err error) field.ErrorList { return field.ErrorList{field.InternalError(nil, err)} }

func (j *judge) create(o kinds.Object) field.ErrorList {
	r, err := j.s.getRules()
	if err != nil {
		return broken(err)
	}
	m, err := j.content(o)
	if err != nil {
		return broken(err)
	}
	errs := validation.ValidateCustomResource(nil, m, r.schema)
	errs = append(errs, j.scaleSpec(m)...)
	errs = append(errs, j.scaleStatus(m)...)
	errs = append(errs, schemaobjectmeta.Validate(nil, m, r.structural, false)...)
	errs = append(errs, structurallisttype.ValidateListSetsAndMaps(nil, r.structural, m)...)
	return r.judgeCEL(errs, m, nil, nil)
}

// update tells warn, which may be nil, what the rules find wrong that was so before.
func (j *judge) update(o, old kinds.Object, warn func(string)) field.ErrorList {
	r, m, was, errs := j.both(o, old)
	if errs != nil {
		return errs
	}
	correlated := common.NewCorrelatedObject(m, was, &model.Structural{Structural: r.structural})
	errs = validation.ValidateCustomResourceUpdate(nil, m, was, r.schema, validation.WithRatcheting(correlated))
	errs = append(errs, j.scaleSpec(m)...)
	errs = append(errs, j.scaleStatus(m)...)
	errs = append(errs, schemaobjectmeta.Validate(nil, m, r.structural, false)...)
	if len(structurallisttype.ValidateListSetsAndMaps(nil, r.structural, was)) == 0 {
		errs = append(errs, structurallisttype.ValidateListSetsAndMaps(nil, r.structural, m)...)
	}
	return r.judgeCEL(errs, m, was, warn, cel.WithRatcheting(correlated))
}

func (j *judge) updateStatus(o, old kinds.Object, warn func(string)) field.ErrorList {
	r, m, was, errs := j.both(o, old)
	if errs != nil {
		return errs
	}
	correlated := common.NewCorrelatedObject(m, was, &model.Structural{Structural: r.structural})
	if status, ok := m["status"]; ok {
		var options []validation.ValidationOption
		if r.structural != nil {
			options = append(options, validation.WithRatcheting(correlated.Key("status")))
		}
		errs = validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, was["status"], r.status, options...)
	}
	errs = append(errs, j.scaleStatus(m)...)
	if now := structurallisttype.ValidateListSetsAndMaps(nil, r.structural, m); len(now) > 0 {
		if len(structurallisttype.ValidateListSetsAndMaps(nil, r.structural, was)) == 0 {
			errs = append(errs, now...)
		}
	}
	return r.judgeCEL(errs, m, was, warn, cel.WithRatcheting(correlated))
}

func (j *judge) both(o, old kinds.Object) (r *ruleset, m, was map[string]any, errs field.ErrorList) {
	r, err := j.s.getRules()
	if err == nil {
		m, err = j.content(o)
	}
	if err == nil {
		was, err = j.content(old)
	}
	if err != nil {
		return nil, nil, nil, broken(err)
	}
	return r, m, was, nil
}

// judgeCEL adds what the schema's rules say, unless the object is too wrong for
// them.
func (r *ruleset) judgeCEL(errs field.ErrorList, m, old map[string]any, warn func(string), options ...cel.Option) field.ErrorList {
	if r.cel == nil {
		return errs
	}
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
		}
	}
	var was any
	if old != nil {
		was = old
	}
	ctx := context.Background()
	if warn != nil {
		ctx = warning.WithWarningRecorder(ctx, recorder(warn))
	}
	more, _ := r.cel.Validate(ctx, nil, r.structural, m, was, celconfig.RuntimeCELCostBudget, options...)
	return append(errs, more...)
}

// recorder takes the warnings of rules.
type recorder func(string)

func (r recorder) AddWarning(_, text string) { r(text) }

func (j *judge) scaleSpec(m map[string]any) field.ErrorList {
	if j.scale == nil {
		return nil
	}
	return judgeReplicas(m, j.scale.SpecReplicasPath)
}

func (j *judge) scaleStatus(m map[string]any) field.ErrorList {
	if j.scale == nil {
		return nil
	}
	errs := judgeReplicas(m, j.scale.StatusReplicasPath)
	if p := j.scale.LabelSelectorPath; p != nil {
		sel, _, err := unstructured.NestedString(m, splitPath(*p)...)
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*p), sel, err.Error()))
		}
	}
	return errs
}

func judgeReplicas(m map[string]any, path string) field.ErrorList {
	n, _, err := unstructured.NestedInt64(m, splitPath(path)...)
	at := field.NewPath(path)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, n, err.Error())}
	case n < 0:
		return field.ErrorList{field.Invalid(at, n, "should be a non-negative integer")}
	case n > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32))}
	}
	return nil
}

var standardFinalizers = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}

// finalizerWarnings are told of new finalizers with names that may clash.
func finalizerWarnings(o, old kinds.Object) []string {
	var added []string
	for _, f := range o.GetFinalizers() {
		if (old == nil || !slices.Contains(old.GetFinalizers(), f)) && !slices.Contains(added, f) {
			added = append(added, f)
		}
	}
	slices.Sort(added)
	var out []string
	for _, f := range added {
		for _, msg := range utilvalidation.IsQualifiedName(f) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, msg))
		}
		switch {
		case strings.Contains(f, "/") || slices.Contains(standardFinalizers, f):
		case strings.Contains(f, "."):
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers", f))
		default:
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers", f))
		}
	}
	return out
}
