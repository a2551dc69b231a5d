package kinds

import (
	"fmt"
	"sort"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Table finds kinds by their names. It is immutable; kinds added at run time
// (custom resources) live in the API server, beside it.
type Table struct {
	kinds      []*Kind
	byGVK      map[schema.GroupVersionKind]*Kind
	byGVR      map[schema.GroupVersionResource]*Kind
	byResource map[schema.GroupResource]*Kind
}

// NewTable joins rows. It panics when two rows claim one name: that is a mistake
// in the program.
func NewTable(groups ...[]*Kind) *Table {
	t := &Table{
		byGVK:      map[schema.GroupVersionKind]*Kind{},
		byGVR:      map[schema.GroupVersionResource]*Kind{},
		byResource: map[schema.GroupResource]*Kind{},
	}
	for _, rows := range groups {
		for _, k := range rows {
			t.add(k)
		}
	}
	return t
}

func (t *Table) add(k *Kind) {
	t.kinds = append(t.kinds, k)
	for _, v := range k.Served {
		kind := k.Kind
		if v.Kind != "" {
			kind = v.Kind
		}
		gvk := schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: kind}
		gvr := schema.GroupVersionResource{Group: v.Group, Version: v.Version, Resource: k.Resource}
		if t.byGVK[gvk] != nil || t.byGVR[gvr] != nil {
			panic(fmt.Sprintf("kinds: %v or %v is in the table twice", gvk, gvr))
		}
		t.byGVK[gvk], t.byGVR[gvr] = k, k
		t.byResource[gvr.GroupResource()] = k
	}
}

// All returns every kind, in the order of the table.
func (t *Table) All() []*Kind { return t.kinds }

// ByGVK finds the kind that serves gvk, whatever its hub is.
func (t *Table) ByGVK(gvk schema.GroupVersionKind) (*Kind, bool) { k, ok := t.byGVK[gvk]; return k, ok }

// ByGVR finds the kind that serves gvr.
func (t *Table) ByGVR(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := t.byGVR[gvr]
	return k, ok
}

// ByResource finds the kind of a group's resource in any version.
func (t *Table) ByResource(gr schema.GroupResource) (*Kind, bool) {
	k, ok := t.byResource[gr]
	return k, ok
}

// Groups lists the API groups in the order of their names.
func (t *Table) Groups() []string {
	seen := map[string]bool{}
	var out []string
	for gv := range t.byGVK {
		if !seen[gv.Group] {
			seen[gv.Group] = true
			out = append(out, gv.Group)
		}
	}
	sort.Strings(out)
	return out
}

// ServedAs finds the form of k in one group and version.
func (k *Kind) ServedAs(gv schema.GroupVersion) (*Version, bool) {
	for i := range k.Served {
		if k.Served[i].Group == gv.Group && k.Served[i].Version == gv.Version {
			return &k.Served[i], true
		}
	}
	return nil, false
}
