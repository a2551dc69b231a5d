// Package batch holds the kinds of the group batch: jobs that end, and schedules
// that make them. See package kinds for the table that this is a part of.
package batch

import (
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(cronJob(), rules.MetaUpdate),
		rules.WithMeta(job(), rules.MetaFull|rules.MetaStatus),
	}
}
