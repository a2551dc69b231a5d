package apiserver

import (
	"context"
	"fmt"
	"maps"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/kinds"
)

// post acts on what was posted to a subresource with a kind of its own.
func (s *Server) post(ctx context.Context, r *objects.Request, in runtime.Object, o *metav1.CreateOptions) (runtime.Object, error) {
	if o == nil {
		o = &metav1.CreateOptions{}
	}
	if row := r.Kind.Subresources[r.Sub]; row.Create != nil {
		e, err := s.engine.Get(ctx, r)
		if err != nil {
			return nil, err
		}
		return row.Create(ctx, e.Object, in)
	}
	if req, ok := in.(*authenticationv1.TokenRequest); ok { // it is the answer, too
		if err := objects.InNamespace(r, req); err != nil {
			return nil, err
		}
		if req.Spec.ExpirationSeconds == nil {
			req.Spec.ExpirationSeconds = ptr.To[int64](tokenSeconds)
		}
		own, err := s.engine.OwnView(r, r.Kind.Subresources[r.Sub].Kind, req, o.FieldManager)
		if err != nil {
			return nil, err
		}
		in = own
	}
	posted, err := s.engine.Post(ctx, r, r.Kind.Subresources[r.Sub].Kind, in, o)
	if err != nil {
		return nil, err
	}
	switch in := posted.View().(type) {
	case *corev1.Binding:
		return s.bind(ctx, r, in, posted, o)
	case *policyv1.Eviction:
		return s.evict(ctx, r, in, posted, o)
	case *authenticationv1.TokenRequest:
		return s.token(ctx, r, in, posted)
	}
	return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
}

// tokenSeconds are how long a token lasts that does not say so (the default of
// authentication.k8s.io/v1).
const tokenSeconds = 60 * 60

func success() *metav1.Status { return &metav1.Status{Status: metav1.StatusSuccess} }

// bind gives a pod its node (core/pod/storage, BindingREST).
func (s *Server) bind(ctx context.Context, r *objects.Request, b *corev1.Binding, posted *objects.Posted, o *metav1.CreateOptions) (runtime.Object, error) {
	if b.Name != r.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	var errs field.ErrorList
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), ""))
	}
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if err := posted.Validate(ctx, b); err != nil {
		return nil, err
	}
	zone := s.topology(b.Target.Name)
	err := s.engine.Modify(ctx, r, objects.Modification{
		UID: b.UID, ResourceVersion: b.ResourceVersion, Options: o,
		Change: func(obj kinds.Object) error {
			pod := obj.(*corev1.Pod)
			if err := assign(pod, b); err != nil {
				return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, r.Name, err)
			}
			for k, v := range zone {
				metav1.SetMetaDataLabel(&pod.ObjectMeta, k, v)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return success(), nil
}

// topology are the labels of a node that its pods carry too (admission plugin
// PodTopologyLabels).
func (s *Server) topology(node string) map[string]string {
	obj, ok := cacheReader{s}.Object(schema.GroupResource{Resource: "nodes"}, "", node)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for _, k := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		if v, ok := obj.GetLabels()[k]; ok {
			out[k] = v
		}
	}
	return out
}

// assign changes pod into one that b's node runs.
func assign(pod *corev1.Pod, b *corev1.Binding) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) != 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = b.Target.Name
	if len(b.Annotations) > 0 && pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	maps.Copy(pod.Annotations, b.Annotations)
	for k, v := range b.Labels {
		if k == corev1.LabelTopologyZone || k == corev1.LabelTopologyRegion {
			if pod.Labels == nil {
				pod.Labels = map[string]string{}
			}
			pod.Labels[k] = v
		}
	}
	setCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, ObservedGeneration: pod.Status.ObservedGeneration})
	return nil
}

// setCondition puts c among the pod's conditions; the time of a status that stays
// is kept.
func setCondition(pod *corev1.Pod, c corev1.PodCondition) {
	c.LastTransitionTime = metav1.Now().Rfc3339Copy()
	for i := range pod.Status.Conditions {
		have := &pod.Status.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}

// token issues a service account token (core/serviceaccount/storage, TokenREST).
func (s *Server) token(ctx context.Context, r *objects.Request, req *authenticationv1.TokenRequest, posted *objects.Posted) (runtime.Object, error) {
	if s.opt.TokenIssuer == nil {
		return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
	}
	if err := s.cache.Fresh(ctx); err != nil {
		return nil, err
	}
	out, warnings, err := s.opt.TokenIssuer.Request(r.Namespace, r.Name, req, func(req *authenticationv1.TokenRequest) error {
		return posted.Validate(ctx, req)
	})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		if r.Warn != nil {
			r.Warn(w)
		}
	}
	return out, nil
}
