package imagestore

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadHostIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		cost, fail := dialTime, errors.New("i/o timeout")
		d := newDialer()
		d.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			calls++
			select {
			case <-time.After(cost):
				return nil, fail
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		try := func(dial dialFunc, host string, wantCalls int, wantTook time.Duration) {
			t.Helper()
			began := time.Now()
			_, err := dial(t.Context(), "tcp", host)
			if !errors.Is(err, fail) && fail != nil {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); calls != wantCalls || took != wantTook {
				t.Errorf("%d calls, %v; want %d, %v", calls, took, wantCalls, wantTook)
			}
		}
		// Who gives up says nothing about the host.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := d.DialContext(ctx, "tcp", "a:443"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		try(d.DialContext, "a:443", 2, dialTime)
		try(d.DialContext, "a:443", 2, 0)
		time.Sleep(12 * time.Second)
		_, err := d.DialContext(t.Context(), "tcp", "a:443")
		if want := "i/o timeout (12s ago, not tried again yet)"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		try(d.DialContext, "b:443", 3, dialTime) // another host
		try(d.Try, "a:443", 4, dialTime)         // a person asks
		time.Sleep(deadTime)
		try(d.DialContext, "a:443", 5, dialTime)
		// A refusal costs nothing, so it is asked again.
		time.Sleep(deadTime)
		cost = 0
		try(d.DialContext, "a:443", 6, 0)
		try(d.DialContext, "a:443", 7, 0)
		// What answers again is not dead.
		cost = dialTime
		try(d.DialContext, "a:443", 8, dialTime)
		cost, fail = 0, nil
		try(d.Try, "a:443", 9, 0)
		try(d.DialContext, "a:443", 10, 0)
	})
}
