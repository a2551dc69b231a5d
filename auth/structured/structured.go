// Package structured reads the configuration files of who may ask
// (AuthenticationConfiguration) and of who decides what they may do
// (AuthorizationConfiguration), in every version that kube-apiserver 1.36 reads, with
// its defaults and its validation. What it returns is valid; errors name the field.
package structured

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
)

// decoder is made when a file is read for the first time: most clusters have none.
var decoder = sync.OnceValue(func() runtime.Decoder {
	s := runtime.NewScheme()
	install.Install(s)
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDecoder()
})

const maxFile = 1 << 20

func decode[T runtime.Object](text []byte, kind string) (T, error) {
	var none T
	if len(text) > maxFile {
		return none, fmt.Errorf("more than %d bytes", maxFile)
	}
	obj, gvk, err := decoder().Decode(text, nil, nil)
	if err != nil {
		return none, err
	}
	out, ok := obj.(T)
	if !ok {
		return none, fmt.Errorf("expected kind %s, got %s", kind, gvk)
	}
	return out, nil
}

// Authentication reads an AuthenticationConfiguration. own are the issuers of this
// cluster's own tokens, which no other may claim to be.
func Authentication(text []byte, own ...string) (*apiserver.AuthenticationConfiguration, error) {
	c, err := decode[*apiserver.AuthenticationConfiguration](text, "AuthenticationConfiguration")
	if err != nil {
		return nil, err
	}
	return c, ValidateAuthentication(c, own...)
}

// ValidateAuthentication judges a configuration, however it was made.
func ValidateAuthentication(c *apiserver.AuthenticationConfiguration, own ...string) error {
	errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), c, own)
	for i := range c.JWT {
		if e := c.JWT[i].Issuer.EgressSelectorType; e != "" {
			errs = append(errs, field.Invalid(field.NewPath("jwt").Index(i).Child("issuer", "egressSelectorType"), e,
				"there are no egress selectors here: leave it out, the issuer is reached directly"))
		}
	}
	return errs.ToAggregate()
}

// Types of authorizers.
const (
	Node        = "Node"
	RBAC        = "RBAC"
	Webhook     = "Webhook"
	AlwaysAllow = "AlwaysAllow"
	AlwaysDeny  = "AlwaysDeny"
)

// Modes are the types that there are.
var Modes = []string{AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook}

// Authorization reads an AuthorizationConfiguration.
func Authorization(text []byte) (*apiserver.AuthorizationConfiguration, error) {
	c, err := decode[*apiserver.AuthorizationConfiguration](text, "AuthorizationConfiguration")
	if err != nil {
		return nil, err
	}
	errs := validation.ValidateAuthorizationConfiguration(authorizationcel.NewDefaultCompiler(), nil, c, sets.New(Modes...), sets.New(Webhook))
	return c, errs.ToAggregate()
}

// Matcher compiles conditions that were validated; nil where there are none.
func Matcher(conditions []apiserver.WebhookMatchCondition) (*authorizationcel.CELMatcher, error) {
	if len(conditions) == 0 {
		return nil, nil
	}
	m, errs := validation.ValidateAndCompileMatchConditions(authorizationcel.NewDefaultCompiler(), slices.Clone(conditions))
	return m, errs.ToAggregate()
}
