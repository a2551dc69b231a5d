package aggregate

import (
	"context"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/apiextensions"
)

// automanaged labels the APIServices that the server keeps by itself.
const automanaged = "kube-aggregator.kubernetes.io/automanaged"

// crd is what registration needs of a CustomResourceDefinition.
type crd struct {
	group    string
	versions []string // that are served
}

func (a *Aggregator) applyCustom(o kinds.Object, gone bool) {
	var whole any = o
	if p, packed := o.(*apiextensions.Packed); packed {
		whole = p.Slim() // without schemas
	}
	d, ok := whole.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.tell()
	delete(a.custom, d.Name)
	if gone {
		return
	}
	c := &crd{group: d.Spec.Group}
	for _, v := range d.Spec.Versions {
		if v.Served {
			c.versions = append(c.versions, v.Name)
		}
	}
	a.custom[d.Name] = c
}

// registration is the APIService of a group version of custom resources
// (controlplane/controller/crdregistration).
func registration(group, version string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: version + "." + group, Labels: map[string]string{automanaged: "true"}},
		Spec:       apiregistrationv1.APIServiceSpec{Group: group, Version: version, GroupPriorityMinimum: 1000, VersionPriority: 100},
	}
}

// plan decides which APIServices are made, corrected and removed so that every group
// version of custom resources has one (autoregister_controller). One that somebody
// made by hand is left alone.
func plan(custom map[string]*crd, have map[string]*apiregistrationv1.APIService) (create, update []*apiregistrationv1.APIService, remove []string) {
	wanted := sets.New[string]()
	for _, c := range custom {
		for _, v := range c.versions {
			want := registration(c.group, v)
			if wanted.Has(want.Name) {
				continue
			}
			wanted.Insert(want.Name)
			is := have[want.Name]
			switch {
			case is == nil:
				create = append(create, want)
			case is.Labels[automanaged] != "true":
			case is.Spec.Service != nil || is.Spec.GroupPriorityMinimum != want.Spec.GroupPriorityMinimum || is.Spec.VersionPriority != want.Spec.VersionPriority:
				fixed := is.DeepCopy()
				fixed.Spec = want.Spec
				update = append(update, fixed)
			}
		}
	}
	for name, is := range have {
		if is.Labels[automanaged] == "true" && !wanted.Has(name) {
			remove = append(remove, name)
		}
	}
	byName := func(a, b *apiregistrationv1.APIService) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	}
	slices.SortFunc(create, byName)
	slices.SortFunc(update, byName)
	slices.Sort(remove)
	return create, update, remove
}

// register carries the plan out. It returns whether there was anything to do: then it
// is looked at again, since a write may fail, or find what is about to go.
func (a *Aggregator) register(ctx context.Context, s Store) (did bool) {
	a.mu.Lock()
	create, update, remove := plan(a.custom, a.services)
	a.mu.Unlock()
	note := func(name string, err error) {
		if err != nil && ctx.Err() == nil {
			a.tel.Log.Error("register the group version of a custom resource", "apiService", name, "err", err)
		}
	}
	for _, o := range create {
		note(o.Name, s.Create(ctx, o))
	}
	for _, o := range update {
		note(o.Name, s.Update(ctx, o))
	}
	for _, name := range remove {
		note(name, s.Delete(ctx, name))
	}
	return len(create)+len(update)+len(remove) > 0
}
