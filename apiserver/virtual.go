package apiserver

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/access"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// virtual answers kinds that are not stored: reviews, bindings, component
// statuses.
func (c *call) virtual() {
	switch c.info.Verb {
	case "create":
	case "list":
		c.writePage(&page{revision: c.s.cache.Revision()})
		return
	case "get":
		// Kubernetes names the kind here where it names the resource elsewhere.
		c.fail(apierrors.NewNotFound(schema.GroupResource{Group: c.kind.Group, Resource: c.kind.Singular}, c.info.Name))
		return
	default:
		c.notAllowed()
		return
	}
	obj, err := c.hub(metav1.FieldValidationWarn)
	if err != nil {
		c.fail(err)
		return
	}
	obj = c.s.engine.Own(c.req(), obj, c.query.Get("fieldManager"))
	out, err := c.s.review(c.ctx(), c.req(), obj)
	if err != nil {
		c.fail(err)
		return
	}
	if s, ok := out.(*metav1.Status); ok {
		if s.Code == 0 {
			s.Code = http.StatusCreated
		}
		c.object(int(s.Code), statusKind, s)
		return
	}
	hub, ok := out.(kinds.Object)
	if !ok {
		c.object(http.StatusCreated, c.typeOf(out, c.kind.GVK()), out)
		return
	}
	hub.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	shown, err := codec.FromHub(c.version, hub)
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	c.object(http.StatusCreated, codec.GVK(c.kind, c.version), shown)
}

// allowAll stands in where there is no authorizer.
type allowAll struct{}

func (allowAll) Authorize(context.Context, *auth.Attributes) (auth.Decision, string, error) {
	return auth.Allow, "", nil
}

// review answers one question.
func (s *Server) review(ctx context.Context, r *objects.Request, in kinds.Object) (runtime.Object, error) {
	az := s.opt.Authorizer
	if az == nil {
		az = allowAll{}
	}
	switch in := in.(type) {
	case *authorizationv1.SubjectAccessReview:
		return access.Review(ctx, az, in)
	case *authorizationv1.LocalSubjectAccessReview:
		return access.LocalReview(ctx, az, r.Namespace, in)
	case *authorizationv1.SelfSubjectAccessReview:
		return access.SelfReview(ctx, az, r.User, in)
	case *authorizationv1.SelfSubjectRulesReview:
		if s.opt.Rules == nil {
			return in, nil
		}
		return access.RulesReview(s.opt.Rules, r.User, in)
	case *authenticationv1.SelfSubjectReview:
		out := authn.SelfReview(r.User, in)
		out.CreationTimestamp = metav1.NewTime(s.opt.Now()).Rfc3339Copy()
		return out, nil
	case *authenticationv1.TokenReview:
		if s.opt.Tokens == nil {
			return in, nil
		}
		return authn.Review(s.opt.Tokens, s.opt.Audiences, in)
	case *corev1.Binding:
		return s.bindByObject(ctx, r, in)
	}
	return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
}

// bindByObject is the old form of binding a pod: POST of a Binding.
func (s *Server) bindByObject(ctx context.Context, by *objects.Request, b *corev1.Binding) (runtime.Object, error) {
	pods, ok := s.table.ByResource(schema.GroupResource{Resource: "pods"})
	if !ok {
		return nil, apierrors.NewMethodNotSupported(by.Kind.GroupResource(), "create")
	}
	r := &objects.Request{Kind: pods, Namespace: by.Namespace, Name: b.Name, Sub: "binding", User: by.User, Agent: by.Agent, Warn: by.Warn}
	return s.bind(ctx, r, b, &metav1.CreateOptions{})
}
