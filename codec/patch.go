package codec

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxOperations is how many operations a JSON patch may have
// (endpoints/handlers/patch.go).
const maxOperations = 10000

type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// JSONPatch applies an RFC 6902 patch to the JSON document doc. strictErrs are
// unknown and duplicate fields of the patch, found with Report. Errors are
// *apierrors.StatusError.
func JSONPatch(doc, patch []byte, s Strict) (patched []byte, strictErrs []error, err error) {
	if s == Report {
		var ops []patchOperation
		if strictErrs, err = kjson.UnmarshalStrict(patch, &ops); err != nil {
			// Clients know the message with the type's name in Kubernetes.
			text := strings.ReplaceAll(err.Error(), "codec.patchOperation", "handlers.jsonPatchOp")
			return nil, nil, apierrors.NewBadRequest("error decoding patch: " + text)
		}
		for i, e := range strictErrs {
			strictErrs[i] = fmt.Errorf("json patch %w", e)
		}
	}
	ops, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(ops) > maxOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(ops)))
	}
	patched, err = ApplyOperations(doc, ops)
	if err != nil {
		return nil, nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return patched, strictErrs, nil
}

// maxCopied is how many bytes the copy operations of one JSON patch may add: a few
// of them that copy what others copied would fill any memory (apiserver's
// JSONPatchMaxCopyBytes).
const maxCopied = 3 << 20

// The library takes its limit from a variable of its own.
var limitCopies = sync.OnceFunc(func() { jsonpatch.AccumulatedCopySizeLimit = maxCopied })

// ApplyOperations applies a decoded RFC 6902 patch to the JSON document doc.
func ApplyOperations(doc []byte, ops jsonpatch.Patch) ([]byte, error) {
	limitCopies()
	return guard(func() ([]byte, error) { return ops.Apply(doc) })
}

// guard turns a panic of the patch library, which some operations without a value
// or on the root cause, into an error.
func guard(f func() ([]byte, error)) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, errors.New("the patch cannot be applied")
		}
	}()
	return f()
}

// MergePatch applies an RFC 7386 patch to the JSON document doc.
func MergePatch(doc, patch []byte, s Strict) (patched []byte, strictErrs []error, err error) {
	if s == Report {
		v := map[string]any{}
		if strictErrs, err = kjson.UnmarshalStrict(patch, &v); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
	}
	patched, err = guard(func() ([]byte, error) { return jsonpatch.MergePatch(doc, patch) })
	if err == jsonpatch.ErrBadJSONPatch {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return patched, strictErrs, err
}

// DecodePatched reads a patched document into into. The document is told in the
// error, as Kubernetes does.
func DecodePatched(doc []byte, into runtime.Object, s Strict) (strictErrs []error, err error) {
	_, strictErrs, err = DecodeInto(JSON, doc, into, s)
	if err != nil {
		return nil, InvalidPatch(string(doc), err)
	}
	return strictErrs, nil
}

// InvalidPatch says that the result of a patch is no object; shown is the
// document or the patch.
func InvalidPatch(shown string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{
		field.Invalid(field.NewPath("patch"), shown, err.Error())})
}

// StrategicPatch applies a strategic merge patch to old and reads the result into
// into; both are of one Go type, whose tags say how lists merge. shown is the
// patch as errors tell it.
func StrategicPatch(old runtime.Object, patch []byte, into runtime.Object, s Strict) (strictErrs []error, shown string, err error) {
	p, strictErrs, err := strategicDoc(patch, s)
	if err != nil {
		return nil, "", err
	}
	to := reflect.ValueOf(into).Elem()
	to.Set(reflect.ValueOf(old.DeepCopyObject()).Elem())
	if narrow(to, p) {
		return strictErrs, fmt.Sprintf("%+v", p), nil
	}
	to.SetZero()
	return wholeStrategicPatch(old, patch, into, s)
}

// strategicDoc reads a strategic merge patch.
func strategicDoc(patch []byte, s Strict) (p map[string]any, strictErrs []error, err error) {
	p = map[string]any{}
	if s == Report {
		strictErrs, err = kjson.UnmarshalStrict(patch, &p)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(patch, &p)
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return p, strictErrs, nil
}

// wholeStrategicPatch is StrategicPatch by way of the whole object. It reads the patch
// anew, because merging uses it up.
func wholeStrategicPatch(old runtime.Object, patch []byte, into runtime.Object, s Strict) (strictErrs []error, shown string, err error) {
	p, strictErrs, err := strategicDoc(patch, s)
	if err != nil {
		return nil, "", err
	}
	doc, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return nil, "", apierrors.NewInternalError(err)
	}
	patched, err := strategicpatch.StrategicMergeMapPatch(doc, p, into)
	if err != nil {
		return nil, "", strategicError(err)
	}
	shown = fmt.Sprintf("%+v", p)
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(patched, into, s == Report)
	if err != nil {
		strict, ok := runtime.AsStrictDecodingError(err)
		if !ok {
			return nil, shown, InvalidPatch(shown, err)
		}
		strictErrs = append(strictErrs, strict.Errors()...)
	}
	return strictErrs, shown, nil
}

func strategicError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return apierrors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return err
}

// ApplyPatch reads the document of a server-side apply. strictErr is what strict
// decoding finds (duplicate keys).
func ApplyPatch(patch []byte, s Strict) (doc map[string]any, strictErr, err error) {
	if doc, ok := applyJSON(patch); ok {
		return doc, nil, nil
	}
	doc = map[string]any{}
	if err := yaml.Unmarshal(patch, &doc); err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if s == Report {
		strictErr = yaml.UnmarshalStrict(patch, &map[string]any{})
	}
	return doc, strictErr, nil
}

// applyJSON decodes a document that is clean JSON, as most clients send it,
// without YAML's detour; ok is false where there is anything to say about it.
func applyJSON(patch []byte) (doc map[string]any, ok bool) {
	if len(patch) == 0 || patch[0] != '{' {
		return nil, false
	}
	doc = map[string]any{}
	strict, err := kjson.UnmarshalStrict(patch, &doc)
	return doc, err == nil && len(strict) == 0
}
