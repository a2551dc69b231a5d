package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/intercept/match"
)

// validating asks all webhooks that a request has to pass at once.
type validating struct{ *Plugins }

func (v *validating) Name() string { return "ValidatingAdmissionWebhook" }

// SetReader implements admission.NeedsReader.
func (v *validating) SetReader(r admission.Reader) { v.reader = r }

// outcome is what one webhook said, and when.
type outcome struct {
	answer *answer
	err    error
	took   time.Duration
}

// Validate implements admission.Validator. When several webhooks refuse, the first of
// them speaks.
func (v *validating) Validate(ctx context.Context, r *admission.Request) error {
	hooks := v.validating.hooks()
	if len(hooks) == 0 || match.IsConfiguration(r) {
		return nil
	}
	a := match.Of(r, v.o.OldVersions)
	asked, err := v.relevant(ctx, hooks, a)
	if err != nil || len(asked) == 0 {
		return err
	}
	raws := map[match.Found]rawObjects{}
	for _, x := range asked {
		if _, ok := raws[x.found]; ok {
			continue
		}
		if raws[x.found], err = encode(a, x.found); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	if ctx.Err() != nil {
		return timedOut()
	}
	outcomes := make([]outcome, len(asked))
	var wait sync.WaitGroup
	for i, x := range asked {
		wait.Go(func() {
			begun := time.Now()
			out, err := v.call(ctx, x.h, a, x.found, raws[x.found], false)
			if err == nil && !out.allowed {
				err = &rejection{refusal(x.h.name, out.result)}
			}
			outcomes[i] = outcome{out, err, time.Since(begun)}
		})
	}
	wait.Wait()
	return v.judge(r, a, asked, outcomes)
}

func (v *validating) relevant(ctx context.Context, hooks []*hook, a *match.Attributes) ([]*invocation, error) {
	var asked []*invocation
	var seen versions
	for _, h := range hooks {
		x, err := v.applies(ctx, h, a, &seen, "validate")
		if err != nil {
			return nil, err
		}
		if x != nil {
			asked = append(asked, x)
		}
	}
	return asked, nil
}

func (v *validating) judge(r *admission.Request, a *match.Attributes, asked []*invocation, outcomes []outcome) error {
	var first error
	for i, x := range asked {
		o := &outcomes[i]
		v.count(x.h, "validating", a.GetOperation(), o.took, o.err)
		if o.answer != nil {
			v.tell(r, x.h, o.answer)
		}
		if o.err == nil {
			continue
		}
		err := v.settle(x.h, "validating", o.err, func() {
			v.annotate(r, fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", i), x.h.name, admission.AuditMetadata)
		})
		if first == nil {
			first = err
		}
	}
	return first
}
