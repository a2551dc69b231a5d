package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	k8s "k8s.io/apiserver/pkg/admission"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/auth"
)

// Options are what webhooks need.
type Options struct {
	Clients    *callout.Clients
	Authorizer auth.Authorizer // asked by match conditions; nil allows everything
	// OldVersions says that rules may name versions that Kubernetes has dropped.
	OldVersions bool
	Metrics     *match.Metrics
	Log         *slog.Logger
}

// Plugins hold all webhooks. Without any, a request costs one atomic load.
type Plugins struct {
	o                    Options
	metrics              *match.Metrics
	reader               admission.Reader
	mutating, validating set
}

// New makes them, without webhooks: Apply brings those.
func New(o Options) *Plugins { return &Plugins{o: o, metrics: o.Metrics} }

// Mutating is the plugin that asks mutating webhooks.
func (p *Plugins) Mutating() admission.Mutator { return &mutating{p} }

// Validating is the plugin that asks validating webhooks.
func (p *Plugins) Validating() admission.Validator { return &validating{p} }

// invocation is a webhook that a request has to pass.
type invocation struct {
	h     *hook
	found match.Found
}

// applies decides whether h is to be asked. An error refuses the request.
func (p *Plugins) applies(ctx context.Context, h *hook, a *match.Attributes, v *versions, typ string) (*invocation, error) {
	found, ok, err := h.criteria.Matches(a, p.reader)
	if !ok {
		return nil, err
	}
	if h.conditions != nil {
		attr, err := v.of(a, found)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		switch ok, err := h.conditions.Match(ctx, attr, nil, match.NewAuthorizer(p.o.Authorizer)); {
		case err != nil:
			p.o.Log.Warn("the match conditions of a webhook failed: the request is refused", "webhook", h.name, "err", err)
			return nil, apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), err)
		case !ok:
			h.conditions.Excluded(typ, a.GetOperation())
			return nil, nil
		}
	}
	return &invocation{h, found}, nil
}

// versions keep what CEL reads of a request, until the object changes.
type versions struct {
	known map[match.Found]*k8s.VersionedAttributes
}

func (v *versions) of(a *match.Attributes, f match.Found) (*k8s.VersionedAttributes, error) {
	if attr := v.known[f]; attr != nil {
		return attr, nil
	}
	attr, err := a.Versioned(f.Kind)
	if err != nil {
		return nil, err
	}
	if v.known == nil {
		v.known = map[match.Found]*k8s.VersionedAttributes{}
	}
	v.known[f] = attr
	return attr, nil
}

// count tells the metrics how a call ended.
func (p *Plugins) count(h *hook, typ string, op k8s.Operation, took time.Duration, err error) {
	var failed *callError
	var refused *rejection
	switch {
	case err == nil:
		p.metrics.Webhook(h.name, typ, string(op), took, false, 200)
	case errors.As(err, &failed):
		code := int(failed.status.ErrStatus.Code)
		if !h.ignore && !errors.Is(failed.reason, context.Canceled) {
			p.metrics.WebhookRejection(h.name, typ, string(op), match.CallingWebhookError, code)
		}
		p.metrics.Webhook(h.name, typ, string(op), took, !h.ignore, code)
	case errors.As(err, &refused):
		code := int(refused.status.ErrStatus.Code)
		p.metrics.WebhookRejection(h.name, typ, string(op), match.NoError, code)
		p.metrics.Webhook(h.name, typ, string(op), took, true, code)
	default:
		p.metrics.WebhookRejection(h.name, typ, string(op), match.InternalError, 0)
		p.metrics.Webhook(h.name, typ, string(op), took, true, 0)
	}
}

// settle says what a failed call means: nil where the webhook's policy ignores it.
// open is told then.
func (p *Plugins) settle(h *hook, typ string, err error, open func()) error {
	var failed *callError
	var refused *rejection
	switch {
	case errors.As(err, &failed) && h.ignore:
		p.o.Log.Warn("a webhook failed: the request goes on", "webhook", h.name, "err", failed)
		if !errors.Is(failed.reason, context.Canceled) {
			p.metrics.WebhookFailOpen(h.name, typ)
			open()
		}
		return nil
	case errors.As(err, &failed):
		p.o.Log.Warn("a webhook failed: the request is refused", "webhook", h.name, "err", failed)
		return apierrors.NewInternalError(failed)
	case errors.As(err, &refused):
		return refused.status
	}
	return err
}

// tell passes on what a webhook wants told.
func (p *Plugins) tell(r *admission.Request, h *hook, out *answer) {
	for k, v := range out.annotations {
		p.annotate(r, h.name+"/"+k, v, admission.AuditMetadata)
	}
	for _, w := range out.warnings {
		r.Warn(w)
	}
}

func (p *Plugins) annotate(r *admission.Request, key, value string, level admission.AuditLevel) {
	if err := r.Annotate(admission.AuditAnnotation{Key: key, Value: value, Level: level}); err != nil {
		p.o.Log.Warn("an audit annotation of a webhook is left out", "err", err)
	}
}

// audited tells whether anybody wants annotations.
func audited(r *admission.Request) bool { return r.OnAnnotate != nil }

// annotation makes the value of an annotation that says what a webhook did.
func annotation(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%q", err.Error())
	}
	return string(b)
}

func timedOut() error {
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}
