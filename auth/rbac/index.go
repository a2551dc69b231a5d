// Package rbac answers authorization questions from Roles, ClusterRoles and
// their bindings. It keeps an index from subjects to the bindings that name them,
// changed event by event, so that a question looks at the asker's own bindings
// alone and nothing is rebuilt for a request. The API server feeds it every change
// of the four kinds in commit order; package policy has the roles that a cluster
// begins with.
package rbac

import (
	"sort"
	"strconv"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// Index is safe for concurrent use.
type Index struct {
	mu           sync.RWMutex
	clusterRoles map[string]*rbacv1.ClusterRole
	roles        map[key]*rbacv1.Role
	// grants finds what a subject is bound to: those of ClusterRoleBindings under
	// the empty namespace. Sorted by binding, so that reasons are the same each time.
	grants map[subject][]grant
}

type key struct{ namespace, name string }

// subject is a user's or group's name, within the namespace of the binding ("" for
// the cluster). A service account is the user that its tokens authenticate as.
type subject struct {
	group     bool
	namespace string
	name      string
}

// grant is one subject of one binding.
type grant struct {
	binding string
	order   int // of the subject in the binding
	ref     rbacv1.RoleRef
	reason  string
}

// New returns an empty index, which allows nothing.
func New() *Index {
	return &Index{
		clusterRoles: map[string]*rbacv1.ClusterRole{},
		roles:        map[key]*rbacv1.Role{},
		grants:       map[subject][]grant{},
	}
}

// Apply takes one change into account; kinds other than RBAC's four are ignored.
// The objects are kept, not copied.
func (x *Index) Apply(e kinds.Event) {
	obj := e.New
	if obj == nil {
		obj = e.Old
	}
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		x.mu.Lock()
		defer x.mu.Unlock()
		if e.New == nil {
			delete(x.clusterRoles, o.Name)
			return
		}
		x.clusterRoles[o.Name] = o
	case *rbacv1.Role:
		x.mu.Lock()
		defer x.mu.Unlock()
		if e.New == nil {
			delete(x.roles, key{o.Namespace, o.Name})
			return
		}
		x.roles[key{o.Namespace, o.Name}] = o
	case *rbacv1.ClusterRoleBinding, *rbacv1.RoleBinding:
		x.mu.Lock()
		defer x.mu.Unlock()
		if e.Old != nil {
			x.drop(e.Old)
		}
		if e.New != nil {
			x.drop(e.New) // a replayed event changes nothing
			x.add(e.New)
		}
	}
}

func parts(o kinds.Object) (ns, name, describe string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	switch b := o.(type) {
	case *rbacv1.ClusterRoleBinding:
		return "", b.Name, "ClusterRoleBinding " + strconv.Quote(b.Name), b.RoleRef, b.Subjects
	case *rbacv1.RoleBinding:
		return b.Namespace, b.Name, "RoleBinding " + strconv.Quote(b.Name+"/"+b.Namespace), b.RoleRef, b.Subjects
	}
	return
}

// indexed returns the subject's key; ok is false for one that can never match.
func indexed(s *rbacv1.Subject, ns string) (subject, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subject{namespace: ns, name: s.Name}, true
	case rbacv1.GroupKind:
		return subject{group: true, namespace: ns, name: s.Name}, true
	case rbacv1.ServiceAccountKind:
		of := s.Namespace
		if of == "" {
			of = ns
		}
		if of == "" {
			return subject{}, false
		}
		return subject{namespace: ns, name: auth.PrefixServiceAccount + of + ":" + s.Name}, true
	}
	return subject{}, false
}

func describe(s *rbacv1.Subject, ns string) string {
	if s.Kind != rbacv1.ServiceAccountKind {
		return s.Kind + " " + strconv.Quote(s.Name)
	}
	if s.Namespace != "" {
		ns = s.Namespace
	}
	return s.Kind + " " + strconv.Quote(s.Name+"/"+ns)
}

func (x *Index) add(o kinds.Object) {
	ns, name, binding, ref, subjects := parts(o)
	for i := range subjects {
		s := &subjects[i]
		k, ok := indexed(s, ns)
		if !ok {
			continue
		}
		list := x.grants[k]
		at := sort.Search(len(list), func(j int) bool { return list[j].binding >= name })
		if at < len(list) && list[at].binding == name {
			continue // the binding names the subject twice: the first counts
		}
		next := make([]grant, 0, len(list)+1)
		next = append(append(next, list[:at]...), grant{name, i, ref,
			"RBAC: allowed by " + binding + " of " + ref.Kind + " " + strconv.Quote(ref.Name) + " to " + describe(s, ns)})
		x.grants[k] = append(next, list[at:]...)
	}
}

func (x *Index) drop(o kinds.Object) {
	ns, name, _, _, subjects := parts(o)
	for i := range subjects {
		k, ok := indexed(&subjects[i], ns)
		if !ok {
			continue
		}
		list := x.grants[k]
		at := sort.Search(len(list), func(j int) bool { return list[j].binding >= name })
		if at == len(list) || list[at].binding != name {
			continue
		}
		if len(list) == 1 {
			delete(x.grants, k)
			continue
		}
		next := make([]grant, 0, len(list)-1)
		next = append(next, list[:at]...)
		x.grants[k] = append(next, list[at+1:]...)
	}
}
