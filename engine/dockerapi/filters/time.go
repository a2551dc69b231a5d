package filters

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// Until reads the filter of that name, a Moment. The zero Time is none.
func (a Args) Until(now time.Time) (time.Time, error) {
	switch values := a["until"]; len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		t, err := Moment(values[0], now)
		if err != nil {
			return time.Time{}, route.Invalid(err)
		}
		return t, nil
	default:
		return time.Time{}, route.Invalidf("more than one until filter specified")
	}
}

// layouts of times, of which Docker takes any that begins the one before.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02T15Z07:00",
	"2006-01-02T15", "2006-01-02Z07:00", "2006-01-02",
}

// Moment reads how long before now, a time as RFC 3339 writes it or the begin of one, in
// now's zone where it names none, or Seconds.
func Moment(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		return now.Add(-d), nil
	}
	var err error
	for _, layout := range layouts {
		var t time.Time
		if t, err = time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if strings.Contains(text, "-") {
		return time.Time{}, err
	}
	t, err := Seconds(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse value as time or duration: %w", err)
	}
	return t, nil
}

const maxFraction = 20

// Seconds reads seconds since 1970, with a fraction of up to 20 digits of which nine
// count.
func Seconds(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		var n *strconv.NumError
		if errors.As(err, &n) {
			err = n.Err
		}
		return time.Time{}, fmt.Errorf("invalid seconds %q: %w", whole, err)
	}
	if len(fraction) > maxFraction {
		return time.Time{}, fmt.Errorf("invalid nanoseconds: length %d exceeds maximum %d", len(fraction), maxFraction)
	}
	for i := range len(fraction) {
		if c := fraction[i]; c < '0' || c > '9' {
			return time.Time{}, fmt.Errorf("invalid nanoseconds: invalid character %q at position %d", c, i)
		}
	}
	nano, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(sec, nano), nil
}
