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
	out, err := c.s.answer(c.ctx(), c, obj)
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

// answer admits a question and answers it.
func (s *Server) answer(ctx context.Context, c *call, in kinds.Object) (runtime.Object, error) {
	r := c.req()
	in, err := s.engine.Own(r, in, c.query.Get("fieldManager"))
	if err != nil {
		return nil, err
	}
	var o metav1.CreateOptions
	if err := c.decodeQuery(&o); err != nil {
		return nil, err
	}
	posted, err := s.engine.PostOwn(ctx, r, in, &o)
	if err != nil {
		return nil, err
	}
	in = posted.View().(kinds.Object)
	if b, ok := in.(*corev1.Binding); ok {
		return s.bindByObject(ctx, c, b, posted, &o)
	}
	if err := posted.Validate(ctx, in); err != nil {
		return nil, err
	}
	return s.review(ctx, r, in)
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
	}
	return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
}

// bindByObject is the old form of binding a pod: POST of a Binding.
func (s *Server) bindByObject(ctx context.Context, c *call, b *corev1.Binding, posted *objects.Posted, o *metav1.CreateOptions) (runtime.Object, error) {
	pods, ok := s.table.ByResource(schema.GroupResource{Resource: "pods"})
	if !ok {
		return nil, apierrors.NewMethodNotSupported(c.kind.GroupResource(), "create")
	}
	r := &objects.Request{Kind: pods, Namespace: c.info.Namespace, Name: b.Name, Sub: "binding", User: c.user, Agent: c.r.UserAgent(), Warn: c.warn, Annotate: c.annotate}
	return s.bind(ctx, r, b, posted, o)
}
