// Package storage holds the kinds of the group storage.k8s.io: classes of
// volumes, the drivers that make them and where they are attached. See package
// kinds for the table that this is a part of.
package storage

import (
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	const both = rules.MetaUpdate | rules.MetaFull
	return []*kinds.Kind{
		rules.WithMeta(csiDriver(), rules.MetaUpdate),
		rules.WithMeta(csiNode(), rules.MetaFull),
		rules.WithMeta(csiStorageCapacity(), both),
		rules.WithMeta(storageClass(), both),
		rules.WithMeta(volumeAttachment(), rules.MetaFull),
		rules.WithMeta(volumeAttributesClass(), both),
	}
}
