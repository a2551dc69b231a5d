// Package autoscaling holds the kinds of the group autoscaling. A
// HorizontalPodAutoscaler lives as autoscaling/v2 and is served as v1 too. See
// package kinds for the table that this is a part of.
package autoscaling

import (
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

const group = "autoscaling"

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(horizontalPodAutoscaler(), rules.MetaUpdate|rules.MetaStatus),
	}
}
