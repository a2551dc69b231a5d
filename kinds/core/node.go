//lint:file-ignore SA1019 what is deprecated is served still

package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func node() *kinds.Kind {
	k := newKind[v1.Node, v1.NodeList]("nodes", false, "no")
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(defaultNode)
	k.PrepareCreate = rules.Do(func(n *v1.Node) { n.Spec.ConfigSource, n.Status.Config = nil, nil })
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.Node) {
		obj.Status = old.Status
		if old.Spec.ConfigSource == nil {
			obj.Spec.ConfigSource = nil
		}
	})
	k.Validate = rules.Check(validateNode)
	k.ValidateUpdate = rules.Check2(validateNodeUpdate)
	k.Warnings = rules.Warn(func(n, _ *v1.Node) []string { return nodeWarnings(n) })
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs: statusVerbs(),
			PrepareUpdate: rules.Do2(func(obj, old *v1.Node) {
				obj.Spec = old.Spec
				if old.Status.Config == nil {
					obj.Status.Config = nil
				}
			}),
			ValidateUpdate: rules.Check2(validateNodeStatus),
			Reset:          []string{"spec"},
		},
		"proxy": {Verbs: proxyVerbs(), Kind: coreGVK("NodeProxyOptions")},
	}
	k.Columns = nodeColumns()
	k.Cells = rules.Cells(nodeCells)
	k.Fields = map[string]func(kinds.Object) string{
		"spec.unschedulable": rules.Field(func(n *v1.Node) string { return fmt.Sprint(n.Spec.Unschedulable) }),
	}
	return k
}

func defaultNode(n *v1.Node) {
	s := &n.Status
	// An empty one is stored as none.
	if len(s.Allocatable) == 0 && s.Capacity != nil {
		s.Allocatable = make(v1.ResourceList, len(s.Capacity))
		fillMissing(s.Allocatable, s.Capacity)
	}
	roundResources(s.Capacity)
	roundResources(s.Allocatable)
	// podCIDR is the first of podCIDRs; where they differ podCIDR wins.
	spec := &n.Spec
	if spec.PodCIDR != "" && (len(spec.PodCIDRs) == 0 || spec.PodCIDRs[0] != spec.PodCIDR) {
		spec.PodCIDRs = []string{spec.PodCIDR}
	}
	if len(spec.PodCIDRs) > 0 {
		spec.PodCIDR = spec.PodCIDRs[0]
	}
}

func nodeColumns() []metav1.TableColumnDefinition {
	info := v1.NodeSystemInfo{}.SwaggerDoc()
	addresses := v1.NodeStatus{}.SwaggerDoc()["addresses"]
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Status", "The status of the node"),
		rules.Column("Roles", "The roles of the node"),
		rules.AgeColumn(),
		rules.Column("Version", info["kubeletVersion"]),
		rules.Wide(rules.Column("Internal-IP", addresses)),
		rules.Wide(rules.Column("External-IP", addresses)),
		rules.Wide(rules.Column("OS-Image", info["osImage"])),
		rules.Wide(rules.Column("Kernel-Version", info["kernelVersion"])),
		rules.Wide(rules.Column("Container-Runtime", info["containerRuntimeVersion"])),
	}
}

func nodeCells(n *v1.Node, now time.Time) []any {
	info := &n.Status.NodeInfo
	kernel := rules.Or(info.KernelVersion, "<unknown>")
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, nodeStatusCell(n), rules.OrNone(strings.Join(nodeRoles(n), ",")),
		rules.Age(n.CreationTimestamp, now), info.KubeletVersion,
		nodeAddress(n, v1.NodeInternalIP), nodeAddress(n, v1.NodeExternalIP),
		rules.Or(info.OSImage, "<unknown>"), kernel, rules.Or(info.ContainerRuntimeVersion, "<unknown>"),
	}
}

func nodeStatusCell(n *v1.Node) string {
	status := "Unknown"
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == v1.NodeReady {
			status = "NotReady"
			if c.Status == v1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles are those named by node-role.kubernetes.io/<role> and by the old
// kubernetes.io/role=<role>.
func nodeRoles(n *v1.Node) []string {
	var roles []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if key == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func nodeAddress(n *v1.Node, kind v1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return "<none>"
}
