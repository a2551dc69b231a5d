// Package policy holds the kinds of the group policy: how many pods may be
// disturbed at a time. See package kinds for the table that this is a part of.
// Evictions are a subresource of pods, in group core's rows.
package policy

import "skiff.dev/skiff/kinds"

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{podDisruptionBudget()} }
