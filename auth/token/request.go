package token

import (
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/auth"
)

const (
	defaultExpiration = 60 * 60
	minExpiration     = 10 * 60
	// The expiration that the ServiceAccount admission asks for in pods. Such a
	// token lives a year, for clients that do not read it again, and warns after
	// the hour (Kubernetes' --service-account-extend-token-expiration).
	warnOnlyExpiration = 60*60 + 7
	extendedExpiration = 365 * 24 * 60 * 60
)

// Service answers TokenRequests.
type Service struct {
	Issuer *Issuer
	// Audiences are the API server's own, the default of a request.
	Audiences []string
	Objects   Objects
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// MaxExpiration shortens what is asked for; 0 sets no limit.
	MaxExpiration time.Duration
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

var requestKind = schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}

// Request answers a TokenRequest for a service account with a token in the status
// of a copy. validate, if not nil, is the admission of the request with its defaults
// but for the audiences, which are those asked for: what a node may ask depends on
// whether it names one. Errors are StatusErrors as Kubernetes words them; warnings are for the
// answer's Warning headers.
func (s *Service) Request(namespace, name string, in *authenticationv1.TokenRequest, validate func(*authenticationv1.TokenRequest) error) (out *authenticationv1.TokenRequest, warnings []string, err error) {
	if err := matchURL(in, namespace, name); err != nil {
		return nil, nil, err
	}
	sa, ok := s.Objects.ServiceAccount(namespace, name)
	if !ok {
		return nil, nil, apierrors.NewNotFound(v1.Resource("serviceaccounts"), name)
	}
	if in.UID != "" && in.UID != sa.UID {
		return nil, nil, apierrors.NewConflict(schema.GroupResource{Group: requestKind.Group, Resource: requestKind.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", in.UID, sa.UID))
	}
	now := s.now()
	out = in.DeepCopy()
	out.Name, out.Namespace, out.UID = sa.Name, sa.Namespace, sa.UID
	out.CreationTimestamp = metav1.NewTime(now)
	out.Status = authenticationv1.TokenRequestStatus{}
	if len(out.Spec.Audiences) == 0 {
		out.Spec.Audiences = slices.Clone(s.Audiences)
	}
	if out.Spec.ExpirationSeconds == nil {
		e := int64(defaultExpiration)
		out.Spec.ExpirationSeconds = &e
	}
	if errs := validateRequest(out); len(errs) > 0 {
		return nil, nil, apierrors.NewInvalid(requestKind, "", errs)
	}
	if validate != nil {
		asked := out.DeepCopy()
		asked.Spec.Audiences = in.Spec.Audiences
		if err := validate(asked); err != nil {
			return nil, nil, err
		}
	}
	private := Private{Namespace: sa.Namespace, ServiceAccount: Ref{sa.Name, string(sa.UID)}}
	if err := s.bind(&private, out.Spec.BoundObjectRef); err != nil {
		return nil, nil, err
	}
	if limit := int64(s.MaxExpiration / time.Second); limit > 0 && *out.Spec.ExpirationSeconds > limit {
		warnings = append(warnings, fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *out.Spec.ExpirationSeconds, limit))
		*out.Spec.ExpirationSeconds = limit
	}
	exp := *out.Spec.ExpirationSeconds
	if private.Pod != nil && exp == warnOnlyExpiration && s.own(out.Spec.Audiences) {
		private.WarnAfter = Date(now.Unix() + exp)
		exp = extendedExpiration
	}
	t, err := s.Issuer.Sign(&Claims{
		Subject:   auth.PrefixServiceAccount + sa.Namespace + ":" + sa.Name,
		Audiences: out.Spec.Audiences,
		IssuedAt:  Date(now.Unix()),
		NotBefore: Date(now.Unix()),
		Expiry:    Date(now.Unix() + exp),
		ID:        string(uuid.NewUUID()),
		Private:   private,
	})
	if err != nil {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %v", err))
	}
	out.Status = authenticationv1.TokenRequestStatus{
		Token:               t,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*out.Spec.ExpirationSeconds) * time.Second)),
	}
	return out, warnings, nil
}

func matchURL(in *authenticationv1.TokenRequest, namespace, name string) error {
	meta := field.NewPath("metadata")
	if in.Name != "" && in.Name != name {
		return apierrors.NewInvalid(requestKind, name, field.ErrorList{
			field.Invalid(meta.Child("name"), in.Name, "must match the service account name if specified")})
	}
	if in.Namespace != "" && in.Namespace != namespace {
		return apierrors.NewInvalid(requestKind, name, field.ErrorList{
			field.Invalid(meta.Child("namespace"), in.Namespace, "must match the service account namespace if specified")})
	}
	return nil
}

func validateRequest(r *authenticationv1.TokenRequest) field.ErrorList {
	p := field.NewPath("spec", "expirationSeconds")
	var errs field.ErrorList
	if e := *r.Spec.ExpirationSeconds; e < minExpiration {
		errs = append(errs, field.Invalid(p, e, "may not specify a duration less than 10 minutes"))
	} else if e > 1<<32 {
		errs = append(errs, field.Invalid(p, e, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// own tells whether every audience is the API server's.
func (s *Service) own(audiences []string) bool {
	for _, a := range audiences {
		if !slices.Contains(s.Audiences, a) {
			return false
		}
	}
	return true
}

// bind fills in the object that the token shall not outlive.
func (s *Service) bind(p *Private, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	var uid types.UID
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	if ref.Name == "" && gvk.Group == "" && slices.Contains([]string{"Pod", "Node", "Secret"}, gvk.Kind) {
		return apierrors.NewBadRequest("Name parameter required.")
	}
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		pod, ok := s.Objects.Pod(p.Namespace, ref.Name)
		if !ok {
			return apierrors.NewNotFound(v1.Resource("pods"), ref.Name)
		}
		if pod.Spec.ServiceAccountName != p.ServiceAccount.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", p.ServiceAccount.Name))
		}
		uid = pod.UID
		p.Pod = &Ref{pod.Name, string(pod.UID)}
		if n := pod.Spec.NodeName; n != "" {
			p.Node = &Ref{Name: n}
			if node, ok := s.Objects.Node(n); ok {
				p.Node.UID = string(node.UID)
			}
		}
	case schema.GroupKind{Kind: "Node"}:
		node, ok := s.Objects.Node(ref.Name)
		if !ok {
			return apierrors.NewNotFound(v1.Resource("nodes"), ref.Name)
		}
		uid = node.UID
		p.Node = &Ref{node.Name, string(node.UID)}
	case schema.GroupKind{Kind: "Secret"}:
		secret, ok := s.Objects.Secret(p.Namespace, ref.Name)
		if !ok {
			return apierrors.NewNotFound(v1.Resource("secrets"), ref.Name)
		}
		uid = secret.UID
		p.Secret = &Ref{secret.Name, string(secret.UID)}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && uid != ref.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}
