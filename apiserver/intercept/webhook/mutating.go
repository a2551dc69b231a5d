package webhook

import (
	"context"
	"fmt"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/codec"
)

// mutating asks webhooks one after the other; each sees what the ones before it made.
type mutating struct{ *Plugins }

func (m *mutating) Name() string { return "MutatingAdmissionWebhook" }

// SetReader implements admission.NeedsReader.
func (m *mutating) SetReader(r admission.Reader) { m.reader = r }

// rounds is what the second round has to know of the first.
type rounds struct {
	invoked map[string]bool // may be asked again, and has been asked
	again   map[string]bool // to be asked again: the object changed after it was
	last    runtime.Object  // as the first round left it
}

// changed says that the object is not what those invoked so far have seen.
func (r *rounds) changed() {
	for id := range r.invoked {
		if r.again == nil {
			r.again = map[string]bool{}
		}
		r.again[id] = true
	}
	r.invoked = nil
}

// Admit implements admission.Mutator.
func (m *mutating) Admit(ctx context.Context, r *admission.Request) error {
	hooks := m.mutating.hooks()
	if len(hooks) == 0 || match.IsConfiguration(r) {
		return nil
	}
	state, _ := r.Kept(m.Name()).(*rounds)
	if state == nil {
		state = &rounds{}
		r.Keep(m.Name(), state)
	}
	a := match.Of(r, m.o.OldVersions)
	if r.Round() > 0 && len(state.invoked) > 0 && !equality.Semantic.DeepEqual(state.last, a.GetObject()) {
		state.changed() // by a plugin that ran in between
	}
	var owners []metav1.ManagedFieldsEntry
	if r.Object != nil {
		owners = r.Object.GetManagedFields()
	}
	var seen versions
	applied := false
	for i, h := range hooks {
		x, err := m.applies(ctx, h, a, &seen, "admit")
		if err != nil {
			return err
		}
		if x == nil || r.Round() > 0 && !state.again[h.id] {
			continue
		}
		changed, err := m.ask(ctx, r, a, x, i)
		if changed {
			seen, applied = versions{}, true
			state.changed()
			r.Again()
		}
		if h.reinvoke {
			if state.invoked == nil {
				state.invoked = map[string]bool{}
			}
			state.invoked[h.id] = true
		}
		if err != nil {
			return err
		}
	}
	if r.Round() == 0 && len(state.invoked) > 0 {
		if obj := a.GetObject(); obj != nil {
			state.last = obj.DeepCopyObject()
		}
	}
	if applied {
		checkOwners(r, owners)
	}
	return nil
}

// checkOwners undoes what webhooks have made of the managed fields where nobody could
// read it (handlers/fieldmanager, managedFieldsValidatingAdmissionController).
func checkOwners(r *admission.Request, before []metav1.ManagedFieldsEntry) {
	if r.Object == nil {
		return
	}
	if err := managedfields.ValidateManagedFields(r.Object.GetManagedFields()); err != nil {
		r.Object.SetManagedFields(before)
		r.Warn(fmt.Sprintf(".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: %v", err))
	}
}

// done is what audit is told of a webhook.
type done struct {
	Configuration string `json:"configuration"`
	Webhook       string `json:"webhook"`
	Mutated       bool   `json:"mutated"`
}

// patched is what audit is told of a patch, where it wants the request's contents.
type patched struct {
	Configuration string          `json:"configuration"`
	Webhook       string          `json:"webhook"`
	Patch         jsonpatch.Patch `json:"patch,omitempty"`
	PatchType     string          `json:"patchType,omitempty"`
}

// ask asks one webhook and applies its patch. The error is what the request is
// answered with.
func (m *mutating) ask(ctx context.Context, r *admission.Request, a *match.Attributes, x *invocation, index int) (changed bool, err error) {
	where := fmt.Sprintf("webhook.admission.k8s.io/round_%d_index_%d", r.Round(), index)
	begun := time.Now()
	changed, err = m.exchangeAndApply(ctx, r, a, x, where)
	m.count(x.h, "admit", a.GetOperation(), time.Since(begun), err)
	if audited(r) {
		m.annotate(r, "mutation."+where, annotation(done{x.h.configuration, x.h.name, changed}), admission.AuditMetadata)
	}
	if err == nil {
		return changed, nil
	}
	err = m.settle(x.h, "admit", err, func() {
		m.annotate(r, "failed-open.mutation."+where, x.h.name, admission.AuditMetadata)
	})
	if err == nil && ctx.Err() != nil {
		err = timedOut() // the request's own time is over, not the webhook's alone
	}
	return changed, err
}

func (m *mutating) exchangeAndApply(ctx context.Context, r *admission.Request, a *match.Attributes, x *invocation, where string) (bool, error) {
	raw, err := encode(a, x.found)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	out, err := m.call(ctx, x.h, a, x.found, raw, true)
	if err != nil {
		return false, err
	}
	m.tell(r, x.h, out)
	if !out.allowed {
		return false, &rejection{refusal(x.h.name, out.result)}
	}
	if len(out.patch) == 0 {
		return false, nil
	}
	ops, err := jsonpatch.DecodePatch(out.patch)
	if err != nil {
		return false, &callError{x.h.name, fmt.Errorf("received undecodable patch in webhook response: %w", err),
			apierrors.NewServiceUnavailable("error decoding patch in webhook response")}
	}
	switch {
	case len(ops) == 0:
		return false, nil
	case raw.object == nil:
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", x.h.name))
	case out.patchType != admissionv1.PatchTypeJSONPatch:
		return false, &callError{x.h.name, fmt.Errorf("unsupported patch type %q", out.patchType), refusal(x.h.name, out.result)}
	}
	changed, err := apply(a, x.found.Kind, raw.object, ops)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if audited(r) {
		m.annotate(r, "patch."+where, annotation(patched{x.h.configuration, x.h.name, ops, string(out.patchType)}), admission.AuditRequest)
	}
	return changed, nil
}

// apply patches the request's object, which doc shows in the form gvk.
func apply(a *match.Attributes, gvk schema.GroupVersionKind, doc []byte, ops jsonpatch.Patch) (changed bool, err error) {
	if doc, err = codec.ApplyOperations(doc, ops); err != nil {
		return false, err
	}
	before, err := a.Object(gvk)
	if err != nil {
		return false, err
	}
	made, err := a.Decode(gvk, doc, codec.Ignore)
	if err != nil {
		return false, err
	}
	changed = !equality.Semantic.DeepEqual(before, made)
	return changed, a.Replace(gvk, made)
}
