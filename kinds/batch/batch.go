// Package batch holds the kinds of the group batch: jobs that end, and schedules
// that make them. See package kinds for the table that this is a part of.
package batch

import (
	batchv1 "k8s.io/api/batch/v1"

	"skiff.dev/skiff/kinds"
)

const group = batchv1.GroupName

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{cronJob(), job()} }
