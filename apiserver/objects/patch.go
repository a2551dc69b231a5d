package objects

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// patcher makes the new object of a patch from the old one.
type patcher struct {
	e       *Engine
	r       *Request
	pt      types.PatchType
	data    []byte
	manager string
	force   bool
	how     directiveName
	warned  bool
}

// directiveName is the fieldValidation directive.
type directiveName string

func directive(v string) directiveName {
	if v == "" {
		return metav1.FieldValidationWarn
	}
	return directiveName(v)
}

func (v directiveName) strict() codec.Strict {
	if v == metav1.FieldValidationIgnore {
		return codec.Ignore
	}
	return codec.Report
}

// Patch changes an object by one of the four kinds of patches. A server-side
// apply creates what does not exist. A patch without a resourceVersion is
// repeated when someone else comes between.
func (e *Engine) Patch(ctx context.Context, r *Request, pt types.PatchType, data []byte, o *metav1.PatchOptions) (_ *cache.Entry, created bool, err error) {
	if o == nil {
		o = &metav1.PatchOptions{}
	}
	p := &patcher{e: e, r: r, pt: pt, data: data, how: directive(o.FieldValidation),
		manager: managerName(o.FieldManager, r.Agent), force: o.Force != nil && *o.Force}
	if pt == types.ApplyPatchType {
		p.manager = o.FieldManager
	}
	if p.how == metav1.FieldValidationStrict && r.Version != nil && r.Version.Old {
		p.how = metav1.FieldValidationWarn // younger than the old versions
	}
	return e.change(ctx, r, &change{
		make:        p.make,
		allowCreate: pt == types.ApplyPatchType && r.Sub == "",
		options:     &metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation},
		dry:         dryRun(o.DryRun),
		patch:       true,
	})
}

func (p *patcher) make(old *cache.Entry) (kinds.Object, error) {
	var obj kinds.Object
	var err error
	switch p.pt {
	case types.JSONPatchType, types.MergePatchType:
		obj, err = p.document(old)
	case types.StrategicMergePatchType:
		obj, err = p.strategic(old)
	case types.ApplyPatchType:
		obj, err = p.apply(old)
	default:
		err = apierrors.NewInternalError(fmt.Errorf("%v: unimplemented patch type", p.pt))
	}
	p.warned = true
	if err != nil {
		return nil, err
	}
	if old == nil && obj.GetUID() != "" {
		return nil, apierrors.NewConflict(resourceOf(p.r), p.r.Name, fmt.Errorf(
			"uid mismatch: the provided object specified uid %s, and no existing object was found", obj.GetUID()))
	}
	if err := ensureNamespace(p.r, obj); err != nil {
		return nil, err
	}
	if err := checkName(p.r, obj); err != nil {
		return nil, err
	}
	return obj, nil
}

// report warns of strict errors or, with Strict, fails with them; shown is what
// the error quotes.
func (p *patcher) report(errs []error, shown string) error {
	if len(errs) == 0 {
		return nil
	}
	if p.how == metav1.FieldValidationStrict {
		return codec.InvalidPatch(shown, runtime.NewStrictDecodingError(errs))
	}
	if !p.warned {
		for _, err := range errs {
			p.r.warn(err.Error())
		}
	}
	return nil
}

// document applies a JSON or a merge patch.
func (p *patcher) document(old *cache.Entry) (kinds.Object, error) {
	body, err := old.Body(codec.JSON, p.r.Version)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	doc := codec.AppendTyped(make([]byte, 0, len(body)+64), codec.GVK(p.r.Kind, p.r.Version), body)
	var patched []byte
	var strict []error
	if p.pt == types.JSONPatchType {
		patched, strict, err = codec.JSONPatch(doc, p.data, p.how.strict())
	} else {
		patched, strict, err = codec.MergePatch(doc, p.data, p.how.strict())
	}
	if err != nil {
		return nil, err
	}
	if err := retyped(p.r, patched); err != nil {
		return nil, err
	}
	into := codec.New(p.r.Kind, p.r.Version)
	more, err := codec.DecodePatched(patched, into, p.how.strict())
	if err != nil {
		return nil, err
	}
	strict = append(strict, more...)
	if p.r.Kind.Custom != nil {
		unknown, err := coerce(p.r.Kind, into, p.how.strict())
		if err != nil {
			return nil, codec.InvalidPatch(string(patched), err)
		}
		strict = append(strict, unknown...)
	}
	if err := p.report(strict, string(patched)); err != nil {
		return nil, err
	}
	return p.finish(old, into)
}

// coerce gives a decoded object of a custom kind the form of its schema; unknown
// fields are strict errors.
func coerce(k *kinds.Kind, into runtime.Object, s codec.Strict) (strict []error, err error) {
	obj, ok := into.(kinds.Object)
	if !ok {
		return nil, nil
	}
	unknown, err := k.Custom.Coerce(obj, s == codec.Report)
	for _, path := range unknown {
		strict = append(strict, codec.UnknownField(path))
	}
	return strict, err
}

// strategic applies a strategic merge patch.
func (p *patcher) strategic(old *cache.Entry) (kinds.Object, error) {
	form, err := codec.FromHub(p.r.Version, old.Object)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	form = codec.Shallow(form)
	form.GetObjectKind().SetGroupVersionKind(codec.GVK(p.r.Kind, p.r.Version))
	into := codec.New(p.r.Kind, p.r.Version)
	strict, shown, err := codec.StrategicPatch(form, p.data, into, p.how.strict())
	if err != nil {
		return nil, err
	}
	if err := p.report(strict, shown); err != nil {
		return nil, err
	}
	return p.finish(old, into)
}

// finish defaults and converts what a patch made, and notes who owns what.
func (p *patcher) finish(old *cache.Entry, made runtime.Object) (kinds.Object, error) {
	want := codec.GVK(p.r.Kind, p.r.Version)
	if have := made.GetObjectKind().GroupVersionKind(); have != want && !have.Empty() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), want.GroupVersion()))
	}
	p.remark(made)
	obj, err := codec.ToHub(p.r.Kind, p.r.Version, made)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return p.e.Owners.Update(p.r.Kind, p.r.Version, p.r.Sub, old.Object, obj, p.manager), nil
}

// remark warns of what conversion takes otherwise than it is written.
func (p *patcher) remark(form runtime.Object) {
	if v := p.r.Version; v != nil && v.Remarks != nil && !p.warned {
		for _, w := range v.Remarks(form) {
			p.r.warn(w)
		}
	}
}

// apply merges a server-side apply.
func (p *patcher) apply(old *cache.Entry) (kinds.Object, error) {
	doc, strictErr, err := codec.ApplyPatch(p.data, p.how.strict())
	if err != nil {
		return nil, err
	}
	if v := p.r.Version; v != nil && v.Remarks != nil {
		form := codec.New(p.r.Kind, v)
		if runtime.DefaultUnstructuredConverter.FromUnstructured(doc, form) == nil {
			p.remark(form)
		}
	}
	if rv, ok, _ := unstructured.NestedString(doc, "metadata", "resourceVersion"); ok && rv != "" && old != nil {
		if _, err := strconv.ParseUint(rv, 10, 64); err != nil {
			return nil, err
		}
	}
	live := p.r.Kind.New()
	if old != nil {
		live = old.Object
	}
	obj, err := p.e.Owners.Apply(p.r.Kind, p.r.Version, p.r.Sub, live, &unstructured.Unstructured{Object: doc}, p.manager, p.force)
	if err != nil {
		return nil, err
	}
	if strictErr != nil {
		if p.how == metav1.FieldValidationStrict {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", strictErr))
		}
		if !p.warned {
			for _, w := range YAMLWarnings(strictErr.Error()) {
				p.r.warn(w)
			}
		}
	}
	return obj, nil
}

// YAMLWarnings takes a strict error of the YAML decoder apart, a warning a line
// (endpoints/handlers, parseYAMLWarnings).
func YAMLWarnings(text string) []string {
	trimmed, ok := strings.CutPrefix(text, "yaml: unmarshal errors:\n")
	if !ok {
		if trimmed, ok = strings.CutPrefix(text, "error converting YAML to JSON: yaml: unmarshal errors:\n"); !ok {
			return []string{text}
		}
	}
	lines := strings.Split(trimmed, "\n")
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		out = append(out, strings.TrimSpace(l))
	}
	return out
}
