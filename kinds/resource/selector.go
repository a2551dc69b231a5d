package resource

import (
	"errors"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	devicecel "k8s.io/dynamic-resource-allocation/cel"

	"skiff.dev/skiff/kinds/rules"
)

// features are those that are on by default in Kubernetes 1.36.
var features = devicecel.Features{EnableConsumableCapacity: true}

// compile says what keeps a selector from being compiled. The compiler's environment is
// made for the first selector. A stored one may use what only newer servers know.
func compile(l *rules.List, expression string, path *field.Path, stored bool) {
	env := environment.NewExpressions
	if stored {
		env = environment.StoredExpressions
	}
	result := devicecel.GetCompiler(features).CompileCELExpression(expression, devicecel.Options{EnvType: &env})
	var wrong *cel.Error
	switch {
	case result.Error == nil:
		if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
			l.Forbidden(path, "too complex, exceeds cost limit")
		}
	case !errors.As(result.Error, &wrong):
		l.Add(field.InternalError(path, fmt.Errorf("unsupported error type: %w", result.Error)))
	case wrong.Type == cel.ErrorTypeRequired:
		l.Required(path, wrong.Detail)
	case wrong.Type == cel.ErrorTypeInvalid:
		l.Invalid(path, expression, wrong.Detail)
	default:
		l.Add(field.InternalError(path, wrong))
	}
}
