// Package apps holds the kinds of the group apps: workloads made of a pod
// template, and the revisions that some of them keep. See package kinds for the
// table that this is a part of.
package apps

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(controllerRevision(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(daemonSet(), rules.MetaUpdate|rules.MetaStatus),
		rules.WithMeta(deployment(), rules.MetaUpdate|rules.MetaStatus),
		rules.WithMeta(replicaSet(), rules.MetaUpdate|rules.MetaStatus),
		rules.WithMeta(statefulSet(), rules.MetaUpdate|rules.MetaStatus),
	}
}

// templateCells are the wide cells of a kind with a pod template.
func templateCells(cells []any, containers []corev1.Container, selector string) []any {
	names, images := rules.ContainerCells(containers)
	return append(cells, names, images, selector)
}

func formatSelector(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }

// podNameWarning tells that a name is used in the names of pods, where it is not
// a DNS label.
func podNameWarning(name string) []string {
	if msgs := utilvalidation.IsDNS1123Label(name); len(msgs) != 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs)}
	}
	return nil
}

func deref(p *int32) int64 {
	if p == nil {
		return 0
	}
	return int64(*p)
}
