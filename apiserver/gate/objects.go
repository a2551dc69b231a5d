package gate

import (
	"fmt"
	"slices"
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"skiff.dev/skiff/kinds"
)

// Names under which Kubernetes' own parts write these objects.
const (
	Producer = "api-priority-and-fairness-config-producer-v1"
	Consumer = "api-priority-and-fairness-config-consumer-v1"
)

// Dangling is a FlowSchema whose condition Dangling is not what it should be.
type Dangling struct {
	Schema    string
	Condition flowcontrolv1.FlowSchemaCondition // without its time
}

// Statuses lists the FlowSchemas that have to be told whether their level exists
// (apf_controller, presyncFlowSchemaStatus).
func (g *Gate) Statuses() []Dangling {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Dangling
	for _, s := range g.schemas {
		name := s.Spec.PriorityLevelConfiguration.Name
		o := g.configs[name]
		// The mandatory levels exist even while their objects do not.
		found := o != nil && sound(o)
		if want := danglingOf(name, found); !slices.ContainsFunc(s.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) bool {
			return c.Type == want.Type && c.Status == want.Status && c.Reason == want.Reason && c.Message == want.Message
		}) {
			out = append(out, Dangling{s.Name, want})
		}
	}
	slices.SortFunc(out, func(a, b Dangling) int {
		if a.Schema < b.Schema {
			return -1
		}
		return 1
	})
	return out
}

func danglingOf(level string, found bool) flowcontrolv1.FlowSchemaCondition {
	c := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", level)}
	if !found {
		c.Status, c.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		c.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", level)
	}
	return c
}

// Change is a write that the objects of every cluster need.
type Change struct {
	Object kinds.Object // as it should be
	Create bool
	Delete bool
}

// Maintain decides how the mandatory and suggested objects have to be changed, and
// which of an older release go (pkg/registry/flowcontrol/ensurer). have finds an
// object of the same kind and name as it is; all lists every object there is.
func Maintain(have func(want kinds.Object) kinds.Object, all []kinds.Object) []Change {
	var out []Change
	wanted := map[string]bool{}
	consider := func(want kinds.Object, mandatory bool) {
		wanted[fmt.Sprintf("%T %s", want, want.GetName())] = true
		if c, ok := revise(want, have(want), mandatory); ok {
			out = append(out, c)
		}
	}
	for _, o := range bootstrap.SuggestedPriorityLevelConfigurations {
		consider(o, false)
	}
	for _, o := range bootstrap.SuggestedFlowSchemas {
		consider(o, false)
	}
	for _, o := range bootstrap.MandatoryPriorityLevelConfigurations {
		consider(o, true)
	}
	for _, o := range bootstrap.MandatoryFlowSchemas {
		consider(o, true)
	}
	for _, o := range all {
		if auto, err := strconv.ParseBool(o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil && auto && !wanted[fmt.Sprintf("%T %s", o, o.GetName())] {
			out = append(out, Change{Object: o, Delete: true})
		}
	}
	return out
}

// revise compares one object with what it should be. The annotation says whether
// the server keeps the specification; without it, an object that nobody has changed
// is kept.
func revise(want, have kinds.Object, mandatory bool) (Change, bool) {
	if have == nil {
		obj := want.DeepCopyObject().(kinds.Object)
		setAuto(obj, true)
		return Change{Object: obj, Create: true}, true
	}
	text, annotated := have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]
	said, err := strconv.ParseBool(text)
	auto := said
	if !annotated || err != nil {
		auto = have.GetGeneration() == 1
	}
	auto = auto || mandatory
	annotate := !annotated || err != nil || said != auto
	respec := auto && !sameSpec(want, have)
	if !annotate && !respec {
		return Change{}, false
	}
	obj := have.DeepCopyObject().(kinds.Object)
	setAuto(obj, auto)
	if respec {
		copySpec(obj, want)
	}
	return Change{Object: obj}, true
}

func setAuto(o kinds.Object, auto bool) {
	metav1.SetMetaDataAnnotation(metaOf(o), flowcontrolv1.AutoUpdateAnnotationKey, strconv.FormatBool(auto))
}

func metaOf(o kinds.Object) *metav1.ObjectMeta {
	if s, ok := o.(*flowcontrolv1.FlowSchema); ok {
		return &s.ObjectMeta
	}
	return &o.(*flowcontrolv1.PriorityLevelConfiguration).ObjectMeta
}

func sameSpec(want, have kinds.Object) bool {
	if w, ok := want.(*flowcontrolv1.FlowSchema); ok {
		return apiequality.Semantic.DeepEqual(w.Spec, have.(*flowcontrolv1.FlowSchema).Spec)
	}
	return apiequality.Semantic.DeepEqual(want.(*flowcontrolv1.PriorityLevelConfiguration).Spec, have.(*flowcontrolv1.PriorityLevelConfiguration).Spec)
}

func copySpec(to, from kinds.Object) {
	if t, ok := to.(*flowcontrolv1.FlowSchema); ok {
		from.(*flowcontrolv1.FlowSchema).Spec.DeepCopyInto(&t.Spec)
		return
	}
	from.(*flowcontrolv1.PriorityLevelConfiguration).Spec.DeepCopyInto(&to.(*flowcontrolv1.PriorityLevelConfiguration).Spec)
}
