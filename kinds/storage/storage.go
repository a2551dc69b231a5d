// Package storage holds the kinds of the group storage.k8s.io: classes of
// volumes, the drivers that make them and where they are attached. See package
// kinds for the table that this is a part of.
package storage

import "skiff.dev/skiff/kinds"

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{csiDriver(), csiNode(), csiStorageCapacity(), storageClass(), volumeAttachment(), volumeAttributesClass()}
}
