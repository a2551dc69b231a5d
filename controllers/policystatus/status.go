// Package policystatus tells authors of ValidatingAdmissionPolicies which expressions
// do not fit the kinds that a policy is about: it checks them against the schemas of
// those kinds and writes warnings. They change nothing about what the policy does
// (pkg/controller/validatingadmissionpolicystatus in Kubernetes).
//
// Reads: ValidatingAdmissionPolicies; the OpenAPI documents.
// Writes: status.observedGeneration and status.typeChecking of
// ValidatingAdmissionPolicies.
package policystatus

import (
	"context"
	"encoding/json"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const manager = "validatingadmissionpolicy-status"

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "policystatus", 1, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, sync(ctx, env, r)
	}))
	loop.On(l, &admissionregistrationv1.ValidatingAdmissionPolicy{}, func(_, p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		if p != nil && p.Generation > p.Status.ObservedGeneration {
			l.Add(loop.Key(p))
		}
	})
	return l.Start()
}

func sync(ctx context.Context, env *loop.Env, r loop.Request) error {
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	if err := env.Cache.Get(ctx, r.NamespacedName, p); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if p.Generation <= p.Status.ObservedGeneration {
		return nil
	}
	served, err := env.Kinds.Kinds(ctx)
	if err != nil {
		return err
	}
	c := &checker{served: served, documents: env.Config.Schemas, log: env.Log}
	data, err := json.Marshal(map[string]any{
		"apiVersion": admissionregistrationv1.SchemeGroupVersion.String(), "kind": "ValidatingAdmissionPolicy",
		"metadata": map[string]any{"name": p.Name},
		"status": map[string]any{"observedGeneration": p.Generation,
			"typeChecking": admissionregistrationv1.TypeChecking{ExpressionWarnings: c.check(p)}},
	})
	if err != nil {
		return err
	}
	return crclient.IgnoreNotFound(env.Client.Status().Patch(ctx, p, crclient.RawPatch(types.ApplyPatchType, data), crclient.FieldOwner(manager), crclient.ForceOwnership))
}
