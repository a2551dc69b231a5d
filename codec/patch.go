package codec

import (
	"fmt"
	"net/http"
	"strings"

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
	patched, err = ops.Apply(doc)
	if err != nil {
		return nil, nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return patched, strictErrs, nil
}

// MergePatch applies an RFC 7386 patch to the JSON document doc.
func MergePatch(doc, patch []byte, s Strict) (patched []byte, strictErrs []error, err error) {
	if s == Report {
		v := map[string]any{}
		if strictErrs, err = kjson.UnmarshalStrict(patch, &v); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
	}
	patched, err = jsonpatch.MergePatch(doc, patch)
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
	doc, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return nil, "", apierrors.NewInternalError(err)
	}
	p := map[string]any{}
	if s == Report {
		if strictErrs, err = kjson.UnmarshalStrict(patch, &p); err != nil {
			return nil, "", apierrors.NewBadRequest(err.Error())
		}
	} else if err = kjson.UnmarshalCaseSensitivePreserveInts(patch, &p); err != nil {
		return nil, "", apierrors.NewBadRequest(err.Error())
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
	doc = map[string]any{}
	if err := unmarshalApply(patch, &doc); err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if s == Report {
		strictErr = yaml.UnmarshalStrict(patch, &map[string]any{})
	}
	return doc, strictErr, nil
}

// unmarshalApply decodes JSON, which most clients send, without YAML's detour.
func unmarshalApply(patch []byte, doc *map[string]any) error {
	return yaml.Unmarshal(patch, doc)
}
