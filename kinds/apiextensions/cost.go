package apiextensions

import (
	"errors"
	"fmt"
	"math"
	"slices"

	inner "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// Limits of what the rules of a schema may cost, as the compiler estimates it.
const (
	costLimit      = 10000000
	totalCostLimit = 100000000
)

// typeInfo is what CEL knows of a node of a schema.
type typeInfo struct {
	schema *structuralschema.Structural
	decl   *apiservercel.DeclType
}

// node is a place in a schema where rules may stand: how many values there can be,
// and their type, which is made of the whole schema only once where a node above has
// rules too. A nil node is one within which rules are not judged.
type node struct {
	parent *node
	child  func(*typeInfo) *typeInfo // finds this node's type in the parent's
	props  *inner.JSONSchemaProps
	ruled  bool   // rules stand here or above
	most   uint64 // how many values there can be; 0 with boundless
	// boundless: no limit is known.
	boundless bool
	total     *total

	info *typeInfo
	err  error
	done bool
}

func rootNode(p *inner.JSONSchemaProps) *node {
	return &node{props: p, ruled: len(p.XValidations) > 0, most: 1, total: &total{}}
}

func (n *node) below(p *inner.JSONSchemaProps, child func(*typeInfo) *typeInfo) *node {
	if n == nil {
		return nil
	}
	c := &node{parent: n, child: child, props: p, ruled: n.ruled || p != nil && len(p.XValidations) > 0, boundless: true, total: n.total}
	if n.props == nil || n.boundless {
		return c
	}
	if most, ok := elements(n.props); ok {
		c.boundless, c.most = false, multiply(n.most, most)
	}
	return c
}

// elements is by how much a node multiplies the values below it.
func elements(p *inner.JSONSchemaProps) (uint64, bool) {
	limit := (*int64)(nil)
	switch {
	case p.Type == "object" && p.AdditionalProperties != nil:
		limit = p.MaxProperties
	case p.Type == "array":
		limit = p.MaxItems
	default:
		return 1, true
	}
	if limit == nil {
		return 0, false
	}
	return uint64(max(*limit, 0)), true
}

func multiply(a, b uint64) uint64 {
	if a == 0 {
		return 0
	}
	if math.MaxUint/a < b {
		return math.MaxUint
	}
	return a * b
}

func (n *node) property(p *inner.JSONSchemaProps, name string) *node {
	return n.below(p, func(t *typeInfo) *typeInfo {
		s, ok := t.schema.Properties[name]
		escaped, ok2 := apiservercel.Escape(name)
		if !ok || !ok2 {
			return nil
		}
		if f, ok := t.decl.Fields[escaped]; ok {
			return &typeInfo{&s, f.Type}
		}
		return nil
	})
}

func (n *node) items(p *inner.JSONSchemaProps) *node {
	return n.below(p, func(t *typeInfo) *typeInfo {
		if t.schema.Items == nil {
			return nil
		}
		return &typeInfo{t.schema.Items, t.decl.ElemType}
	})
}

func (n *node) values(p *inner.JSONSchemaProps) *node {
	return n.below(p, func(t *typeInfo) *typeInfo {
		if t.schema.AdditionalProperties == nil {
			return nil
		}
		return &typeInfo{t.schema.AdditionalProperties.Structural, t.decl.ElemType}
	})
}

// typeInfo is nil where no rules stand here or above.
func (n *node) typeInfo() (*typeInfo, error) {
	if n == nil || !n.ruled {
		return nil, nil
	}
	if n.done {
		return n.info, n.err
	}
	n.done = true
	if n.parent != nil {
		above, err := n.parent.typeInfo()
		if err != nil {
			n.err = err
			return nil, err
		}
		if above != nil {
			if n.info = n.child(above); n.info != nil {
				return n.info, nil
			}
		}
	}
	s, err := structuralschema.NewStructural(n.props)
	if err != nil {
		n.err = err
		return nil, err
	}
	decl := model.SchemaDeclType(s, n.parent == nil || n.props.XEmbeddedResource)
	if decl == nil {
		n.err = errors.New("unable to convert structural schema to CEL declarations")
		return nil, n.err
	}
	n.info = &typeInfo{s, decl}
	return n.info, nil
}

// cost is that of a rule for all values that there can be.
func (n *node) cost(r cel.CompilationResult) uint64 {
	if n.boundless {
		return multiply(r.MaxCost, r.MaxCardinality)
	}
	return multiply(r.MaxCost, n.most)
}

// total adds up the costs of a schema's rules and keeps the four that cost most.
type total struct {
	sum  uint64
	most []ruleCost
}

type ruleCost struct {
	path *field.Path
	cost uint64
}

func (t *total) observe(at *field.Path, cost uint64) {
	if math.MaxUint64-t.sum < cost {
		t.sum = math.MaxUint64
	} else {
		t.sum += cost
	}
	if cost < totalCostLimit/100 {
		return
	}
	t.most = append(t.most, ruleCost{at, cost})
	slices.SortFunc(t.most, func(a, b ruleCost) int {
		switch {
		case a.cost > b.cost:
			return -1
		case a.cost < b.cost:
			return 1
		}
		return 0
	})
	if len(t.most) > 4 {
		t.most = t.most[:4]
	}
}

func costMessage(name string, cost, limit uint64) string {
	factor := float64(cost) / float64(limit)
	text := fmt.Sprintf("%.1fx", factor)
	if factor > 100 {
		text = "more than 100x"
	} else if factor < 1.5 {
		text = fmt.Sprintf("%fx", factor) // not "1.0x"
	}
	return fmt.Sprintf("%s exceeds budget by factor of %s (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)", name, text)
}
