package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/lazy"

	"skiff.dev/skiff/auth"
)

type claims map[string]json.RawMessage

func (c claims) read(name string, into any) error {
	raw, ok := c[name]
	if !ok {
		return errors.New("claim not present")
	}
	return json.Unmarshal(raw, into)
}

// user makes a user of claims, by the rules of the configuration.
func (i *Issuer) user(ctx context.Context, c claims) (*auth.User, error) {
	r := &i.rules
	var values *lazy.MapValue
	if r.Username != nil || r.Groups != nil || r.UID != nil || r.Extra != nil || r.ClaimValidationRules != nil {
		values = claimValues(c)
	}
	u := &auth.User{}
	var err error
	if u.Name, err = i.username(ctx, c, values); err != nil {
		return nil, err
	}
	if u.Groups, err = i.groups(ctx, c, values); err != nil {
		return nil, err
	}
	if u.UID, err = i.uid(ctx, c, values); err != nil {
		return nil, err
	}
	if u.Extra, err = i.extra(ctx, c, values); err != nil {
		return nil, err
	}
	if err := i.required(c); err != nil {
		return nil, err
	}
	if r.ClaimValidationRules != nil {
		results, err := r.ClaimValidationRules.EvalClaimMappings(ctx, values)
		if err == nil {
			err = allTrue(results)
		}
		if err != nil {
			return nil, fmt.Errorf("oidc: error evaluating claim validation expression: %w", err)
		}
	}
	if r.UserValidationRules != nil {
		results, err := r.UserValidationRules.EvalUser(ctx, userValues(u))
		if err == nil {
			err = allTrue(results)
		}
		if err != nil {
			return nil, fmt.Errorf("oidc: error evaluating user info validation rule: %w", err)
		}
	}
	return u, nil
}

func (i *Issuer) username(ctx context.Context, c claims, values *lazy.MapValue) (string, error) {
	if m := i.rules.Username; m != nil {
		name, err := text(m.EvalClaimMapping(ctx, values))
		switch {
		case errors.Is(err, errNoString):
			return "", errors.New("oidc: error evaluating username claim expression: username claim expression must return a string")
		case err != nil:
			return "", fmt.Errorf("oidc: error evaluating username claim expression: %w", err)
		case name == "":
			return "", errors.New("oidc: empty username via CEL expression is not allowed")
		}
		return name, nil
	}
	claim := i.config.ClaimMappings.Username.Claim
	var name string
	if err := c.read(claim, &name); err != nil {
		return "", fmt.Errorf("oidc: parse username claims %q: %w", claim, err)
	}
	if _, told := c["email_verified"]; claim == "email" && told {
		var verified bool
		if err := c.read("email_verified", &verified); err != nil {
			return "", fmt.Errorf("oidc: parse 'email_verified' claim: %w", err)
		}
		if !verified {
			return "", errors.New("oidc: email not verified")
		}
	}
	if p := i.config.ClaimMappings.Username.Prefix; p != nil {
		name = *p + name
	}
	return name, nil
}

func (i *Issuer) groups(ctx context.Context, c claims, values *lazy.MapValue) ([]string, error) {
	claim := i.config.ClaimMappings.Groups.Claim
	if raw, ok := c[claim]; ok && claim != "" {
		var groups []string
		if json.Unmarshal(raw, &groups) != nil {
			var one string
			if err := json.Unmarshal(raw, &one); err != nil {
				return nil, fmt.Errorf("oidc: parse groups claim %q: %w", claim, err)
			}
			groups = []string{one}
		}
		if p := i.config.ClaimMappings.Groups.Prefix; p != nil {
			for j := range groups {
				groups[j] = *p + groups[j]
			}
		}
		return groups, nil
	}
	if i.rules.Groups == nil {
		return nil, nil
	}
	result, err := i.rules.Groups.EvalClaimMapping(ctx, values)
	var groups []string
	if err == nil {
		groups, err = texts(result.EvalResult)
	}
	if err != nil {
		return nil, fmt.Errorf("oidc: error evaluating group claim expression: %w", err)
	}
	return groups, nil
}

func (i *Issuer) uid(ctx context.Context, c claims, values *lazy.MapValue) (string, error) {
	if claim := i.config.ClaimMappings.UID.Claim; claim != "" {
		var uid string
		if err := c.read(claim, &uid); err != nil {
			return "", fmt.Errorf("oidc: parse uid claim %q: %w", claim, err)
		}
		return uid, nil
	}
	if i.rules.UID == nil {
		return "", nil
	}
	uid, err := text(i.rules.UID.EvalClaimMapping(ctx, values))
	switch {
	case errors.Is(err, errNoString):
		return "", errors.New("oidc: error evaluating uid claim expression: uid claim expression must return a string")
	case err != nil:
		return "", fmt.Errorf("oidc: error evaluating uid claim expression: %w", err)
	}
	return uid, nil
}

func (i *Issuer) extra(ctx context.Context, c claims, values *lazy.MapValue) (map[string][]string, error) {
	extra := map[string][]string{}
	var id string
	if c.read("jti", &id) == nil && id != "" {
		extra["authentication.kubernetes.io/credential-id"] = []string{"JTI=" + id}
	}
	if i.rules.Extra != nil {
		results, err := i.rules.Extra.EvalClaimMappings(ctx, values)
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			m, ok := r.ExpressionAccessor.(*authenticationcel.ExtraMappingExpression)
			if !ok {
				return nil, errors.New("oidc: error evaluating extra claim expression: invalid type conversion, expected ExtraMappingCondition")
			}
			list, err := texts(r.EvalResult)
			if err != nil {
				return nil, fmt.Errorf("oidc: error evaluating extra claim expression: %s: %w", m.Expression, err)
			}
			if len(list) > 0 {
				extra[m.Key] = list
			}
		}
	}
	if len(extra) == 0 {
		return nil, nil
	}
	return extra, nil
}

// required holds the claims to the values that rules without an expression want.
func (i *Issuer) required(c claims) error {
	want := map[string]string{}
	for _, r := range i.config.ClaimValidationRules {
		if r.Claim != "" {
			want[r.Claim] = r.RequiredValue
		}
	}
	for _, claim := range slices.Sorted(maps.Keys(want)) {
		if _, ok := c[claim]; !ok {
			return fmt.Errorf("oidc: required claim %s not present in ID token", claim)
		}
		var has string
		if err := c.read(claim, &has); err != nil {
			return fmt.Errorf("oidc: parse claim %s: %w", claim, err)
		}
		if has != want[claim] {
			return fmt.Errorf("oidc: required claim %s value does not match. Got = %s, want = %s", claim, has, want[claim])
		}
	}
	return nil
}

var errNoString = errors.New("not a string")

func text(r authenticationcel.EvaluationResult, err error) (string, error) {
	if err != nil {
		return "", err
	}
	s, ok := r.EvalResult.Value().(string)
	if !ok {
		return "", errNoString
	}
	return s, nil
}

var errNoTexts = errors.New("expression must return a string or a list of strings")

// texts reads a string or a list of strings, without those that are empty.
func texts(v ref.Val) ([]string, error) {
	var out []string
	add := func(x any) error {
		s, ok := x.(string)
		if !ok {
			return errNoTexts
		}
		if s != "" {
			out = append(out, s)
		}
		return nil
	}
	switch v := v.(type) {
	case types.String:
		return out, add(v.Value())
	case types.Null:
		return nil, nil
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			if err := add(it.Next().Value()); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if s, ok := v.Value().(string); ok {
		return out, add(s)
	}
	return nil, errNoTexts
}

// allTrue wants every rule to hold.
func allTrue(results []authenticationcel.EvaluationResult) error {
	for _, r := range results {
		ok, is := r.EvalResult.Value().(bool)
		if !is {
			return errors.New("validation expression must return a boolean")
		}
		if ok {
			continue
		}
		message := ""
		switch a := r.ExpressionAccessor.(type) {
		case *authenticationcel.ClaimValidationCondition:
			message = a.Message
		case *authenticationcel.UserValidationCondition:
			message = a.Message
		}
		return fmt.Errorf("validation expression '%s' failed: %s", r.ExpressionAccessor.GetExpression(), message)
	}
	return nil
}

// claimValues shows claims to expressions; each is decoded when it is looked at.
func claimValues(c claims) *lazy.MapValue {
	m := lazy.NewMapValue(types.NewObjectType("kubernetes.claims"))
	for name, raw := range c {
		m.Append(name, func(*lazy.MapValue) ref.Val {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return types.NewErr("claim %q failed to unmarshal: %w", name, err)
			}
			return value(v)
		})
	}
	return m
}

func userValues(u *auth.User) *lazy.MapValue {
	m := lazy.NewMapValue(types.NewObjectType("kubernetes.UserInfo"))
	for name, v := range map[string]any{"username": u.Name, "uid": u.UID, "groups": u.Groups, "extra": u.Extra} {
		m.Append(name, func(*lazy.MapValue) ref.Val { return value(v) })
	}
	return m
}

// value is v for CEL, whose identifiers cannot name every key: a key is found by its
// escaped name too, however deep it is.
func value(v any) ref.Val { return unescaping(types.DefaultTypeAdapter.NativeToValue(v)) }

func unescaping(v ref.Val) ref.Val {
	switch v := v.(type) {
	case traits.Mapper:
		return &mapper{v}
	case traits.Lister:
		return &lister{v}
	}
	return v
}

type mapper struct{ traits.Mapper }

func (m *mapper) Find(key ref.Val) (ref.Val, bool) {
	if k, ok := key.(types.String); ok {
		if plain, ok := cel.Unescape(string(k)); ok && plain != string(k) {
			key = types.String(plain)
		}
	}
	v, ok := m.Mapper.Find(key)
	return unescaping(v), ok
}

type lister struct{ traits.Lister }

func (l *lister) Get(i ref.Val) ref.Val { return unescaping(l.Lister.Get(i)) }
