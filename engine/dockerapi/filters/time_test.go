package filters

import (
	"testing"
	"time"

	"skiff.dev/skiff/engine/dockerapi/route"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]string{
		"10m": "2026-01-02T02:54:05Z", "2021-01-01": "2021-01-01T00:00:00Z", "2021-01-01T10:00": "2021-01-01T10:00:00Z",
		"1600000000.5": "2020-09-13T12:26:40.5Z", "2021-01-01T10:00:00+02:00": "2021-01-01T08:00:00Z",
		"2024-01-02T03:04:05Z": "2024-01-02T03:04:05Z", "1700000000": "2023-11-14T22:13:20Z", "0": "1970-01-01T00:00:00Z",
	} {
		if got, err := Moment(text, now); err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"nonsense", "", "1.x", "2021-13-01"} {
		if got, err := Moment(text, now); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestUntil(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	if got, err := (Args{}).Until(now); err != nil || !got.IsZero() {
		t.Errorf("%v %v", got, err)
	}
	if got, err := (Args{"until": {"10m"}}).Until(now); err != nil || !got.Equal(now.Add(-10*time.Minute)) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range [][]string{{"x"}, {"1", "2"}} {
		if _, err := (Args{"until": bad}).Until(now); route.Status(err) != 400 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzMoment(f *testing.F) {
	for _, s := range []string{"", "1", "1.5", "-1.0000000001", "1.-5", "9223372036854775807.999999999", "10m", "2021-01-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = Moment(s, time.Unix(0, 0))
		if at, err := Seconds(s); err == nil && (at.Nanosecond() < 0 || at.Nanosecond() > 999999999) {
			t.Errorf("%q is %v", s, at)
		}
	})
}
