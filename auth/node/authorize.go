package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/rbac"
)

// Authorizer judges the requests of nodes. Its reasons are Kubernetes' words.
type Authorizer struct {
	graph *Graph
	rules []rbacv1.PolicyRule
}

var _ auth.Authorizer = (*Authorizer)(nil)

// New judges by graph, and by rules (policy.NodeRules) what is not a node's own.
func New(graph *Graph, rules []rbacv1.PolicyRule) *Authorizer {
	return &Authorizer{graph, rules}
}

// Identity returns the name of the node that u is; ok is false for other users.
func Identity(u *auth.User) (node string, ok bool) {
	if u == nil {
		return "", false
	}
	node, ok = strings.CutPrefix(u.Name, auth.PrefixNode)
	if !ok || !slices.Contains(u.Groups, auth.GroupNodes) {
		return "", false
	}
	return node, true
}

// Authorize has an opinion on nodes only, and never denies.
func (z *Authorizer) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	node, ok := Identity(a.User)
	if !ok {
		return auth.NoOpinion, "", nil
	}
	if node == "" {
		return auth.NoOpinion, fmt.Sprintf("unknown node for user %q", a.User.Name), nil
	}
	reason, known := z.judge(node, a)
	if !known {
		if rbac.Allows(a, z.rules) {
			return auth.Allow, "", nil
		}
		return auth.NoOpinion, "", nil
	}
	if reason == allow {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, reason, nil
}

const allow = "\x00allow"

// judge returns allow or why not; known is false where the static rules decide.
func (z *Authorizer) judge(node string, a *auth.Attributes) (reason string, known bool) {
	if !a.IsResource {
		return "", false
	}
	resource := a.Resource
	if a.Group != "" {
		resource += "." + a.Group
	}
	switch resource {
	case "secrets":
		return z.read(node, toSecret, a), true
	case "configmaps":
		return z.read(node, toConfigMap, a), true
	case "persistentvolumeclaims":
		if a.Subresource == "status" {
			if a.Verb != "update" && a.Verb != "patch" {
				return "can only get/update/patch this type", true
			}
			return z.path(node, toClaim, a), true
		}
		return z.get(node, toClaim, a), true
	case "persistentvolumes":
		return z.get(node, toVolume, a), true
	case "resourceclaims.resource.k8s.io":
		return z.get(node, toResourceClaim, a), true
	case "volumeattachments.storage.k8s.io":
		return z.get(node, toAttachment, a), true
	case "serviceaccounts":
		return z.serviceAccount(node, a), true
	case "leases.coordination.k8s.io":
		return lease(node, a), true
	case "csinodes.storage.k8s.io":
		return csiNode(node, a), true
	case "resourceslices.resource.k8s.io":
		return z.slice(node, a), true
	case "nodes":
		return own(node, a), true
	case "pods":
		return z.pod(node, a), true
	}
	return "", false
}

func (z *Authorizer) path(node string, r relation, a *auth.Attributes) string {
	if a.Name == "" {
		return "No Object name found"
	}
	if !z.graph.related(node, r, a.Namespace, a.Name) {
		return fmt.Sprintf("no relationship found between node '%s' and this object", node)
	}
	return allow
}

func (z *Authorizer) get(node string, r relation, a *auth.Attributes) string {
	if a.Verb != "get" {
		return "can only get individual resources of this type"
	}
	if a.Subresource != "" {
		return "cannot get subresource"
	}
	return z.path(node, r, a)
}

func (z *Authorizer) read(node string, r relation, a *auth.Attributes) string {
	switch {
	case a.Verb != "get" && a.Verb != "list" && a.Verb != "watch":
		return "can only read resources of this type"
	case a.Subresource != "":
		return "cannot read subresource"
	case a.Namespace == "":
		return "can only read namespaced object of this type"
	}
	return z.path(node, r, a)
}

func (z *Authorizer) serviceAccount(node string, a *auth.Attributes) string {
	if a.Verb == "get" && a.Subresource == "" {
		return z.read(node, toServiceAccount, a)
	}
	if a.Verb != "create" || a.Name == "" {
		return "can only create tokens for individual service accounts"
	}
	if a.Subresource != "token" {
		return "can only create token subresource of serviceaccount"
	}
	return z.path(node, toServiceAccount, a)
}

const leaseNamespace = "kube-node-lease"

func lease(node string, a *auth.Attributes) string {
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, a.Verb):
		return "can only get, create, update, patch, or delete a node lease"
	case a.Namespace != leaseNamespace:
		return fmt.Sprintf("can only access leases in the %q system namespace", leaseNamespace)
	case a.Verb != "create" && a.Name != node:
		return "can only access node lease with the same name as the requesting node"
	}
	return allow
}

func csiNode(node string, a *auth.Attributes) string {
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, a.Verb):
		return "can only get, create, update, patch, or delete a CSINode"
	case a.Subresource != "":
		return "cannot authorize CSINode subresources"
	case a.Verb != "create" && a.Name != node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return allow
}

func (z *Authorizer) slice(node string, a *auth.Attributes) string {
	if a.Subresource != "" {
		return "cannot authorize ResourceSlice subresources"
	}
	switch a.Verb {
	case "create":
		return allow
	case "get", "update", "patch", "delete":
		return z.path(node, toSlice, a)
	case "watch", "list", "deletecollection":
		if selects(a.FieldSelector, "spec.nodeName", node) {
			return allow
		}
		return "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

// own judges requests for Node objects. Writes are admission's to narrow down.
func own(node string, a *auth.Attributes) string {
	switch a.Subresource + "/" + a.Verb {
	case "/create", "/update", "/patch", "status/update", "status/patch":
		return allow
	case "/get", "/list", "/watch":
		switch a.Name {
		case node:
			return allow
		case "":
			return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
		}
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, a.Name)
	}
	return ""
}

func (z *Authorizer) pod(node string, a *auth.Attributes) string {
	switch a.Subresource + "/" + a.Verb {
	case "/get":
		return z.get(node, toPod, a)
	case "/list", "/watch":
		if selects(a.FieldSelector, "spec.nodeName", node) {
			return allow
		}
		if a.Name != "" {
			return z.path(node, toPod, a)
		}
		return "can only list/watch pods with spec.nodeName field selector"
	case "/create", "/delete", "status/update", "status/patch", "eviction/create":
		return allow
	}
	return ""
}

// selects tells whether a field selector requires name to be value.
func selects(selector, name, value string) bool {
	s, err := fields.ParseSelector(selector)
	if err != nil {
		return false
	}
	for _, r := range s.Requirements() {
		if r.Field == name && r.Value == value && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) {
			return true
		}
	}
	return false
}
