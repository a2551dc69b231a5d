package system

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseTime reads seconds since 1970, with a fraction of up to 20 digits of which
// nine count. "" is no time.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := seconds(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid timestamp %q: %w", text, err)
	}
	return t, nil
}

const maxFraction = 20

func seconds(text string) (time.Time, error) {
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
