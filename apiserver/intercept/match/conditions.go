package match

import (
	"context"
	"sync"
	"time"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	k8s "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"skiff.dev/skiff/kinds/admissionregistration/expression"
)

// Conditions are the match conditions of a webhook or a policy. They are compiled
// when they are needed first.
type Conditions struct {
	// Ignore says that a condition that cannot be evaluated means no match; otherwise
	// it is an error.
	Ignore bool
	// Kind, Type and Name say in metrics whose conditions these are.
	Kind, Type, Name string

	compile func() *expression.Conditions
	metrics *Metrics
}

// NewConditions returns nil where there are none. compiler is called at most once.
func NewConditions(list []admissionv1.MatchCondition, failure *admissionv1.FailurePolicyType, kind, typ, name string,
	compiler func() *expression.Compiler, scope expression.Scope, m *Metrics) *Conditions {
	if len(list) == 0 {
		return nil
	}
	return &Conditions{
		Ignore: failure != nil && *failure == admissionv1.Ignore, Kind: kind, Type: typ, Name: name, metrics: m,
		compile: sync.OnceValue(func() *expression.Conditions {
			es := make([]plugincel.ExpressionAccessor, len(list))
			for i, c := range list {
				es[i] = &expression.Match{Name: c.Name, Expression: c.Expression}
			}
			return compiler().Conditions(es, scope)
		}),
	}
}

// Match evaluates all: one that is false decides, else one that fails does
// (webhook/matchconditions, Match).
func (c *Conditions) Match(ctx context.Context, attr *k8s.VersionedAttributes, param runtime.Object, authz authorizer.Authorizer) (bool, error) {
	begun := time.Now()
	op := string(attr.GetOperation())
	defer func() {
		c.metrics.conditionTime.WithLabelValues(c.Name, c.Kind, c.Type, op).Observe(time.Since(begun).Seconds())
	}()
	r := plugincel.CreateAdmissionRequest(attr.Attributes, metav1.GroupVersionResource(attr.GetResource()), metav1.GroupVersionKind(attr.VersionedKind))
	results, _, err := c.compile().ForInput(ctx, attr, r,
		plugincel.OptionalVariableBindings{VersionedParams: param, Authorizer: authz}, nil, celconfig.RuntimeCELCostBudgetMatchConditions)
	if err != nil {
		return false, c.fault(err)
	}
	var errs []error
	for i := range results {
		if err := results[i].Error; err != nil {
			errs = append(errs, err)
			c.metrics.conditionErrors.WithLabelValues(c.Name, c.Kind, c.Type, op).Inc()
		}
		if results[i].EvalResult == celtypes.False {
			return false, nil
		}
	}
	if len(errs) > 0 {
		return false, c.fault(utilerrors.NewAggregate(errs))
	}
	return true, nil
}

// Excluded counts a request that the conditions kept away.
func (c *Conditions) Excluded(typ string, op k8s.Operation) {
	c.metrics.conditionExclusions.WithLabelValues(c.Name, c.Kind, typ, string(op)).Inc()
}

func (c *Conditions) fault(err error) error {
	if c.Ignore {
		return nil
	}
	return err
}
