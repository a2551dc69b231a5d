package pressure

import (
	"cmp"
	"slices"
	"time"
)

// The kubelet's imageGCHighThresholdPercent, imageGCLowThresholdPercent and
// imageMinimumGCAge.
const (
	imageHigh   = 85
	imageLow    = 80
	imageMinAge = 2 * time.Minute
)

// ToFree is how many bytes of images are to be deleted so that the disk is used by
// no more than the low threshold; 0 while it is used by less than the high one.
func ToFree(free, total int64) int64 {
	if total <= 0 || 100-free*100/total < imageHigh {
		return 0
	}
	return max(total/100*(100-imageLow)-free, 0)
}

// Image is one that may be deleted.
type Image struct {
	ID   string
	Size int64
	// Seen is when the node first saw it, Used when a container last used it; zero if
	// never.
	Seen, Used time.Time
	InUse      bool
	// Kept images were brought to the machine by hand and cannot be pulled again.
	Kept bool
}

// Delete chooses images until bytes are freed: the least recently used first, and
// none that is in use, kept, or younger than two minutes. bytes < 0 chooses all that
// may be deleted.
func Delete(images []Image, bytes int64, now time.Time) (ids []string, freed int64) {
	sorted := slices.Clone(images)
	slices.SortFunc(sorted, func(a, b Image) int {
		return cmp.Or(a.Used.Compare(b.Used), a.Seen.Compare(b.Seen), cmp.Compare(a.ID, b.ID))
	})
	for _, i := range sorted {
		if bytes >= 0 && freed >= bytes {
			break
		}
		if i.InUse || i.Kept || !i.Used.Before(now) || now.Sub(i.Seen) < imageMinAge {
			continue
		}
		ids = append(ids, i.ID)
		freed += i.Size
	}
	return ids, freed
}
