package images

import (
	"encoding/json"

	"github.com/moby/moby/api/types/registry"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// distributed is the answer about an image at its registry: of a list the platforms
// of its entries, of Docker's manifest that of its config.
func distributed(d imagespec.Descriptor, manifest, config []byte) (*registry.DistributionInspect, error) {
	out := &registry.DistributionInspect{Descriptor: d}
	switch {
	case isIndex(d):
		var index imagespec.Index
		if err := json.Unmarshal(manifest, &index); err != nil {
			return nil, err
		}
		for _, m := range index.Manifests {
			p := imagespec.Platform{}
			if m.Platform != nil {
				p = *m.Platform
			}
			out.Platforms = append(out.Platforms, p)
		}
	case config != nil:
		var p imagespec.Platform
		if json.Unmarshal(config, &p) == nil && (p.OS != "" || p.Architecture != "") {
			out.Platforms = append(out.Platforms, p)
		}
	}
	return out, nil
}
