package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// Old forms say and leave out the same as rbac/v1.

var v1beta1 = rbacv1beta1.SchemeGroupVersion

func oldRole() []kinds.Version {
	return []kinds.Version{convert.Old[rbacv1.Role, rbacv1beta1.Role, rbacv1beta1.RoleList](convert.New(), v1beta1, "Role", nil)}
}

func oldClusterRole() []kinds.Version {
	return []kinds.Version{convert.Old[rbacv1.ClusterRole, rbacv1beta1.ClusterRole, rbacv1beta1.ClusterRoleList](convert.New(), v1beta1, "ClusterRole", nil)}
}

func oldRoleBinding() []kinds.Version {
	return []kinds.Version{convert.Old[rbacv1.RoleBinding, rbacv1beta1.RoleBinding, rbacv1beta1.RoleBindingList](convert.New(), v1beta1, "RoleBinding", nil)}
}

func oldClusterRoleBinding() []kinds.Version {
	return []kinds.Version{convert.Old[rbacv1.ClusterRoleBinding, rbacv1beta1.ClusterRoleBinding, rbacv1beta1.ClusterRoleBindingList](convert.New(), v1beta1, "ClusterRoleBinding", nil)}
}
