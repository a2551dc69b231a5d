package rbac

import "skiff.dev/skiff/kinds"

func oldRole() []kinds.Version               { return nil }
func oldClusterRole() []kinds.Version        { return nil }
func oldRoleBinding() []kinds.Version        { return nil }
func oldClusterRoleBinding() []kinds.Version { return nil }
