// Package rbac holds the kinds of the group rbac.authorization.k8s.io: who may do
// what. Room auth decides by them; here is what they look like. See package kinds
// for the table that this is a part of.
package rbac

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

const group = rbacv1.GroupName

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(clusterRoleBinding(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(clusterRole(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(roleBinding(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(role(), rules.MetaUpdate|rules.MetaFull),
	}
}

func role() *kinds.Kind {
	return row.Fill[rbacv1.Role, rbacv1.RoleList](rbacv1.SchemeGroupVersion, &kinds.Kind{
		Resource:            "roles",
		Namespaced:          true,
		AllowCreateOnUpdate: true,
		Name:                row.PathSegment,
		Validate:            rules.Check(validateRole),
		ValidateUpdate:      rules.Check2(validateRoleUpdate),
	}, oldRole()...)
}

func clusterRole() *kinds.Kind {
	return row.Fill[rbacv1.ClusterRole, rbacv1.ClusterRoleList](rbacv1.SchemeGroupVersion, &kinds.Kind{
		Resource:            "clusterroles",
		AllowCreateOnUpdate: true,
		Name:                row.PathSegment,
		Validate:            rules.Check(validateClusterRole),
		ValidateUpdate:      rules.Check2(validateClusterRoleUpdate),
	}, oldClusterRole()...)
}

func roleBinding() *kinds.Kind {
	type T = *rbacv1.RoleBinding
	return row.Fill[rbacv1.RoleBinding, rbacv1.RoleBindingList](rbacv1.SchemeGroupVersion, &kinds.Kind{
		Resource:            "rolebindings",
		Namespaced:          true,
		AllowCreateOnUpdate: true,
		Name:                row.PathSegment,
		Default:             rules.Do(func(b T) { defaultBinding(&b.RoleRef, b.Subjects) }),
		Validate:            rules.Check(validateRoleBinding),
		ValidateUpdate:      rules.Check2(validateRoleBindingUpdate),
		Columns:             bindingColumns("roleBinding", rbacv1beta1.RoleBinding{}.SwaggerDoc()["roleRef"]),
		Cells: rules.Cells(func(b T, now time.Time) []any {
			return bindingCells(b.Name, b.RoleRef, b.Subjects, rules.Age(b.CreationTimestamp, now))
		}),
	}, oldRoleBinding()...)
}

func clusterRoleBinding() *kinds.Kind {
	type T = *rbacv1.ClusterRoleBinding
	return row.Fill[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](rbacv1.SchemeGroupVersion, &kinds.Kind{
		Resource:            "clusterrolebindings",
		AllowCreateOnUpdate: true,
		Name:                row.PathSegment,
		Default:             rules.Do(func(b T) { defaultBinding(&b.RoleRef, b.Subjects) }),
		Validate:            rules.Check(validateClusterRoleBinding),
		ValidateUpdate:      rules.Check2(validateClusterRoleBindingUpdate),
		Columns:             bindingColumns("clusterRoleBinding", rbacv1beta1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"]),
		Cells: rules.Cells(func(b T, now time.Time) []any {
			return bindingCells(b.Name, b.RoleRef, b.Subjects, rules.Age(b.CreationTimestamp, now))
		}),
	}, oldClusterRoleBinding()...)
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = group
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = group
		}
	}
}

func bindingColumns(of, roleRef string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Role", roleRef),
		rules.AgeColumn(),
		rules.Wide(rules.Column("Users", "Users in the "+of)),
		rules.Wide(rules.Column("Groups", "Groups in the "+of)),
		rules.Wide(rules.Column("ServiceAccounts", "ServiceAccounts in the "+of)),
	}
}

func bindingCells(name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject, age string) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		}
	}
	return []any{name, ref.Kind + "/" + ref.Name, age,
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}
