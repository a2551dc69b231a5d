package lifecycle

import (
	"encoding/hex"
	"hash/fnv"

	v1 "k8s.io/api/core/v1"
)

// Hash identifies what of a container's spec, when changed, needs a new instance.
// Of a pod's containers only the image can be changed in place, besides resources,
// which are applied to the running instance.
func Hash(c *v1.Container) string {
	h := fnv.New32a()
	h.Write([]byte(c.Name))
	h.Write([]byte{0})
	h.Write([]byte(c.Image))
	return hex.EncodeToString(h.Sum(nil))
}
