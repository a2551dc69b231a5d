package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/kinds"
)

// index finds the objects of one kind by the values of one field.
type index struct {
	target target
	values crclient.IndexerFunc
	found  map[string]map[objectKey]kinds.Object
}

func (x *index) of(obj kinds.Object) []string {
	v, err := x.target.view(obj)
	if err != nil {
		return nil
	}
	return x.values(v)
}

func (x *index) add(obj kinds.Object) {
	for _, v := range x.of(obj) {
		if x.found[v] == nil {
			x.found[v] = map[objectKey]kinds.Object{}
		}
		key := keyOf(obj)
		delete(x.found[v], key)
		x.found[v][key] = obj
	}
}

func (x *index) remove(obj kinds.Object) {
	for _, v := range x.of(obj) {
		delete(x.found[v], keyOf(obj))
		if len(x.found[v]) == 0 {
			delete(x.found, v)
		}
	}
}

func (i *informer) addIndex(name string, t target, values crclient.IndexerFunc) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.indices[name] != nil {
		return fmt.Errorf("client: index %s of %s exists", name, i.gvk.Kind)
	}
	x := &index{target: t, values: values, found: map[string]map[objectKey]kinds.Object{}}
	for _, obj := range i.objects {
		x.add(obj)
	}
	i.indices[name] = x
	return nil
}

// byIndex answers a list by field from an informer's index; ok is false when there
// is none for the first field. It waits for the informer's first list.
func (p *InProcess) byIndex(ctx context.Context, t target, namespace string, lsel labels.Selector, fsel fields.Selector) (out []kinds.Object, ok bool, err error) {
	p.mu.Lock()
	i := p.informers[t.followed()]
	p.mu.Unlock()
	if i == nil {
		return nil, false, nil
	}
	reqs := fsel.Requirements()
	i.mu.RLock()
	x := i.indices[reqs[0].Field]
	i.mu.RUnlock()
	if x == nil {
		return nil, false, nil
	}
	select {
	case <-i.synced.Done():
	case <-ctx.Done():
		return nil, true, ctx.Err()
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	tests, err := i.exact(t.kind, reqs)
	if err != nil {
		return nil, true, err
	}
	for key, obj := range x.found[reqs[0].Value] {
		if namespace != "" && key.namespace != namespace || !matches(lsel, obj) {
			continue
		}
		if !slices.ContainsFunc(tests, func(test func(kinds.Object) bool) bool { return !test(obj) }) {
			out = append(out, obj)
		}
	}
	slices.SortFunc(out, compareObjects)
	return out, true, nil
}

// exact makes tests of all requirements but the first.
func (i *informer) exact(k *kinds.Kind, reqs fields.Requirements) ([]func(kinds.Object) bool, error) {
	var tests []func(kinds.Object) bool
	for n, r := range reqs {
		if r.Operator != selection.Equals && r.Operator != selection.DoubleEquals {
			return nil, fmt.Errorf("client: non-exact field matches are not supported by an index")
		}
		if n == 0 {
			continue
		}
		if x := i.indices[r.Field]; x != nil {
			tests = append(tests, func(o kinds.Object) bool { return slices.Contains(x.of(o), r.Value) })
			continue
		}
		get := fieldOf(k, r.Field)
		if get == nil {
			return nil, fmt.Errorf("client: index with name field:%s does not exist", r.Field)
		}
		tests = append(tests, func(o kinds.Object) bool { return get(o) == r.Value })
	}
	return tests, nil
}

func compareObjects(a, b kinds.Object) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}
