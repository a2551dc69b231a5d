// Package batch holds the kinds of the group batch: jobs that end, and schedules
// that make them. See package kinds for the table that this is a part of.
package batch

import "skiff.dev/skiff/kinds"

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{cronJob(), job()} }
