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
	switch in := in.(type) {
	case *corev1.Binding:
		return s.bind(ctx, r, in, o)
	case *policyv1.Eviction:
		return s.evict(ctx, r, in, o)
	case *authenticationv1.TokenRequest:
		return s.token(ctx, r, in, o)
	}
	return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
}

func success() *metav1.Status { return &metav1.Status{Status: metav1.StatusSuccess} }

// bind gives a pod its node (core/pod/storage, BindingREST).
func (s *Server) bind(ctx context.Context, r *objects.Request, b *corev1.Binding, o *metav1.CreateOptions) (runtime.Object, error) {
	if b.Name == "" {
		b.Name = r.Name
	}
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
	err := s.engine.Modify(ctx, r, objects.Modification{
		UID: b.UID, ResourceVersion: b.ResourceVersion, View: b, Options: o,
		Change: func(obj kinds.Object) error {
			if err := assign(obj.(*corev1.Pod), b); err != nil {
				return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, r.Name, err)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return success(), nil
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
func (s *Server) token(ctx context.Context, r *objects.Request, req *authenticationv1.TokenRequest, o *metav1.CreateOptions) (runtime.Object, error) {
	if s.opt.TokenIssuer == nil {
		return nil, apierrors.NewNotFound(r.Kind.GroupResource(), r.Name)
	}
	e, err := s.engine.Get(ctx, r)
	if err != nil {
		return nil, err
	}
	sa, ok := e.Object.(*corev1.ServiceAccount)
	if !ok {
		return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
	}
	if req.Name != "" && req.Name != r.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name: %q does not match the request name %q", req.Name, r.Name))
	}
	if req.Namespace != "" && req.Namespace != r.Namespace {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	req.Name, req.Namespace = r.Name, r.Namespace
	if req.CreationTimestamp.IsZero() {
		req.CreationTimestamp = metav1.NewTime(s.opt.Now()).Rfc3339Copy()
	}
	if req.Spec.ExpirationSeconds == nil {
		hour := int64(3600)
		req.Spec.ExpirationSeconds = &hour
	}
	if errs := checkTokenRequest(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: "authentication.k8s.io", Kind: "TokenRequest"}, "", errs)
	}
	if err := s.engine.Connect(ctx, r, req, o); err != nil {
		return nil, err
	}
	bound, err := s.boundObject(ctx, r, req.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	return s.opt.TokenIssuer.IssueToken(ctx, sa, bound, req)
}

func checkTokenRequest(req *authenticationv1.TokenRequest) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "expirationSeconds")
	switch sec := *req.Spec.ExpirationSeconds; {
	case sec < 600:
		errs = append(errs, field.Invalid(path, sec, "may not specify a duration less than 10 minutes"))
	case sec > 1<<32:
		errs = append(errs, field.Invalid(path, sec, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// boundObject finds the object that a token is to be bound to.
func (s *Server) boundObject(ctx context.Context, r *objects.Request, ref *authenticationv1.BoundObjectReference) (kinds.Object, error) {
	if ref == nil {
		return nil, nil
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil || ref.APIVersion == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount to group/version/kind %s", ref.APIVersion+", Kind="+ref.Kind))
	}
	gvk := gv.WithKind(ref.Kind)
	k, ok := s.table.ByGVK(gvk)
	if !ok || gv.Group != "" || (ref.Kind != "Pod" && ref.Kind != "Secret" && ref.Kind != "Node") {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	ns := r.Namespace
	if !k.Namespaced {
		ns = ""
	}
	e, err := s.engine.Get(ctx, &objects.Request{Kind: k, Namespace: ns, Name: ref.Name, User: r.User})
	if err != nil {
		return nil, err
	}
	if ref.UID != "" && ref.UID != e.Object.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: gv.Group, Resource: k.Resource}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return e.Object, nil
}
