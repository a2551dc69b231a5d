package networks

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// until reads the filter of that name: a time, seconds since 1970, or how long ago.
func until(values []string, now time.Time) (time.Time, error) {
	if len(values) == 0 {
		return time.Time{}, nil
	}
	if len(values) > 1 {
		return time.Time{}, route.Invalidf("more than one until filter specified")
	}
	t, err := moment(values[0], now)
	if err != nil {
		return time.Time{}, route.Invalidf("failed to parse value as time or duration: %w", err)
	}
	return t, nil
}

// layouts of times, of which Docker takes any that begins the one before.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02T15Z07:00",
	"2006-01-02T15", "2006-01-02Z07:00", "2006-01-02",
}

func moment(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, l := range layouts {
		if t, err := time.ParseInLocation(l, text, time.Local); err == nil {
			return t, nil
		}
	}
	whole, fraction, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		var n *strconv.NumError
		if errors.As(err, &n) {
			err = n.Err
		}
		return time.Time{}, fmt.Errorf("invalid seconds %q: %w", whole, err)
	}
	nano, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid nanoseconds %q", fraction)
	}
	return time.Unix(sec, int64(nano)), nil
}
