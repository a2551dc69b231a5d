package apiserver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/request"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// maxBody is how large a request's body may be (--max-request-body-bytes).
const maxBody = 3 << 20

// readBody reads the whole body.
func (c *call) readBody() ([]byte, error) {
	c.boundBody()
	n := c.r.ContentLength
	if n > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if n > 0 {
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r.Body, b); err != nil {
			return nil, bodyError(err)
		}
		return b, nil
	}
	b, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if len(b) > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	return b, nil
}

// bodyError is the answer where a body ends early, or comes too slowly.
func bodyError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return apierrors.NewBadRequest("read the body: " + err.Error())
}

func invalidOptions(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

// strictness is a fieldValidation directive; the default warns.
func strictness(directive string) codec.Strict {
	if directive == metav1.FieldValidationIgnore {
		return codec.Ignore
	}
	return codec.Report
}

// decode reads the body into an object of the expected type; into is empty.
func (c *call) decode(into runtime.Object, want schema.GroupVersionKind, directive string) error {
	media, err := request.Body(c.r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	data, err := c.readBody()
	if err != nil {
		return err
	}
	return c.decodeBytes(media, data, into, want, directive)
}

func (c *call) decodeBytes(media codec.Media, data []byte, into runtime.Object, want schema.GroupVersionKind, directive string) error {
	have, strict, err := codec.DecodeInto(media, data, into, strictness(directive))
	if err != nil {
		return c.decodeError(media, data, want, err)
	}
	if d, ok := into.(*dynamic.Object); ok {
		unknown, err := c.decodedCustom(d, have, want, strictness(directive))
		if err != nil {
			return err
		}
		strict = append(strict, unknown...)
	}
	if have.Version == "" { // there is none, or one that cannot be read
		if _, ok, err := codec.PeekType(media, data); !ok {
			return c.decodeError(media, data, want, err)
		}
	}
	if have.Kind == "" {
		have.Kind = want.Kind
	}
	if have.Version == "" && (have.Group == "" || have.Group == want.Group) {
		have.Group, have.Version = want.Group, want.Version
	}
	custom, isCustom := into.(*dynamic.Object)
	if !isCustom && have != want && (have != evictionBeta || want.GroupKind() != have.GroupKind()) {
		return c.wrongType(have, want)
	}
	if len(strict) > 0 {
		// Strict validation is younger than the old versions: what was written for
		// them may say more than they know.
		if directive == metav1.FieldValidationStrict && (c.version == nil || !c.version.Old) {
			err := runtime.NewStrictDecodingError(strict)
			return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
		}
		for _, e := range strict {
			for _, w := range objects.YAMLWarnings(e.Error()) {
				c.warn(w)
			}
		}
	}
	if isCustom && have != want {
		return wrongCustom(custom, have, want)
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return nil
}

// evictionBeta is the old version of an eviction, whose fields are the same.
var evictionBeta = schema.GroupVersionKind{Group: "policy", Version: "v1beta1", Kind: "Eviction"}

// schemeName is the name of the registry in Kubernetes' messages.
const schemeName = "pkg/runtime/scheme.go:111"

// wrongType words what is wrong with a body of another type (endpoints/handlers,
// transformDecodeError).
func (c *call) wrongType(have, want schema.GroupVersionKind) error {
	if !c.s.opt.Scheme.Recognizes(have) {
		err := runtime.NewNotRegisteredErrForKind(schemeName, have)
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
	}
	if have.Kind == want.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), want.GroupVersion()))
	}
	goType := func(gvk schema.GroupVersionKind, internal bool) string {
		group, _, _ := strings.Cut(gvk.Group, ".")
		if group == "" {
			group = "core"
		}
		if internal {
			return group + "." + gvk.Kind
		}
		return gvk.Version + "." + gvk.Kind
	}
	err := fmt.Sprintf("converting (%s) to (%s): unknown conversion", goType(have, false), goType(want, true))
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %s", have.Kind, have.Version, want.Kind, err))
}

// decodeError words a body that cannot be read.
func (c *call) decodeError(media codec.Media, data []byte, want schema.GroupVersionKind, err error) error {
	have, ok, perr := codec.PeekType(media, data)
	if perr != nil {
		err = perr
	}
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary(data)))
	}
	if c.kind != nil && c.kind.Custom != nil {
		if have.Kind == "" {
			return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary(data)))
		}
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
	}
	if have.Kind == "" {
		have.Kind = want.Kind
	}
	if have.Version == "" {
		have.Group, have.Version = want.Group, want.Version
	}
	if have != want {
		return c.wrongType(have, want)
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
}

// summary is the beginning of a body in an error.
func summary(data []byte) string {
	const most = 30
	switch {
	case len(data) == 0:
		return "<empty>"
	case data[0] == '{' && len(data) > most:
		return string(data[:most]) + " ..."
	case data[0] == '{':
		return string(data)
	case len(data) > most:
		return hex.EncodeToString(data[:most]) + " ..."
	}
	return hex.EncodeToString(data)
}

// hub decodes the body as the call's kind in its version.
func (c *call) hub(directive string) (kinds.Object, error) {
	into := codec.New(c.kind, c.version)
	if err := c.decode(into, codec.GVK(c.kind, c.version), directive); err != nil {
		return nil, err
	}
	if c.version.Remarks != nil {
		for _, w := range c.version.Remarks(into) {
			c.warn(w)
		}
	}
	obj, err := codec.ToHub(c.kind, c.version, into)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	c.auditHub(obj)
	return obj, nil
}

// create answers POST to a collection.
func (c *call) create() {
	o, err := c.createOptions()
	if err != nil {
		c.fail(err)
		return
	}
	obj, err := c.hub(o.FieldValidation)
	if err != nil {
		c.fail(err)
		return
	}
	e, err := c.s.engine.Create(c.ctx(), c.req(), obj, o)
	c.answer(http.StatusCreated, e, err)
}

// createOptions reads the options of a POST, whose body has to be of a type that is
// read.
func (c *call) createOptions() (*metav1.CreateOptions, error) {
	if _, err := request.Body(c.r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	o := &metav1.CreateOptions{}
	if err := c.decodeQuery(o); err != nil {
		return nil, err
	}
	return o, invalidOptions("CreateOptions", metav1validation.ValidateCreateOptions(o))
}

func (c *call) answer(code int, e *cache.Entry, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	c.entry(code, e)
}

// update answers PUT.
func (c *call) update() { c.put("") }

// put replaces an object, or the part of it that sub is.
func (c *call) put(sub string) {
	o, err := c.updateOptions()
	if err != nil {
		c.fail(err)
		return
	}
	obj, err := c.hub(o.FieldValidation)
	if err != nil {
		c.fail(err)
		return
	}
	r := c.req()
	r.Sub = sub
	e, created, err := c.s.engine.Update(c.ctx(), r, obj, o)
	c.answer(codeOf(created), e, err)
}

// updateOptions reads the options of a PUT.
func (c *call) updateOptions() (*metav1.UpdateOptions, error) {
	o := &metav1.UpdateOptions{}
	if err := c.decodeQuery(o); err != nil {
		return nil, err
	}
	return o, invalidOptions("UpdateOptions", metav1validation.ValidateUpdateOptions(o))
}

func codeOf(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// patch answers PATCH.
func (c *call) patch() { c.patchSub("") }

// patchOptions reads a patch: its type, its bytes, its options.
func (c *call) patchOptions() (types.PatchType, []byte, *metav1.PatchOptions, error) {
	ct, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	pt := types.PatchType(ct)
	switch pt {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyPatchType:
	default:
		if c.kind.Custom != nil {
			return "", nil, nil, request.ErrCustomPatchType()
		}
		return "", nil, nil, request.ErrPatchType()
	}
	if pt == types.StrategicMergePatchType && c.kind.Custom != nil {
		return "", nil, nil, request.ErrCustomPatchType()
	}
	data, err := c.readBody()
	if err != nil {
		return "", nil, nil, err
	}
	c.auditPatch(data)
	o := &metav1.PatchOptions{}
	if err := c.decodeQuery(o); err != nil {
		return "", nil, nil, err
	}
	return pt, data, o, invalidOptions("PatchOptions", metav1validation.ValidatePatchOptions(o, pt))
}

// patchSub patches an object, or the part of it that sub is.
func (c *call) patchSub(sub string) {
	pt, data, o, err := c.patchOptions()
	if err != nil {
		c.fail(err)
		return
	}
	r := c.req()
	r.Sub = sub
	e, created, err := c.s.engine.Patch(c.ctx(), r, pt, data, o)
	c.answer(codeOf(created), e, err)
}
