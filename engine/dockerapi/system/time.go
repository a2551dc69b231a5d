package system

import (
	"fmt"
	"time"

	"skiff.dev/skiff/engine/dockerapi/filters"
)

// parseTime reads seconds since 1970, with a fraction of up to 20 digits of which
// nine count. "" is no time.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := filters.Seconds(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid timestamp %q: %w", text, err)
	}
	return t, nil
}
