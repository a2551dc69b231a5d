package imagestore

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxWaits is how many times one request waits because the registry asks for it,
	// maxWait how long at most each time.
	maxWaits = 4
	maxWait  = 30 * time.Second
	// someWait is for a registry that is asked too much and does not say how long.
	someWait = 500 * time.Millisecond
)

// patient sends requests again that a registry is too busy for, when it says.
type patient struct{ next http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	for n := 0; ; n++ {
		resp, err := p.next.RoundTrip(r)
		if err != nil || n == maxWaits {
			return resp, err
		}
		wait := waitFor(resp, n, time.Now())
		if wait == 0 || wait > maxWait {
			return resp, nil
		}
		again := r.Clone(r.Context())
		if r.Body != nil && r.Body != http.NoBody {
			if r.GetBody == nil {
				return resp, nil // it cannot be sent twice
			}
			if again.Body, err = r.GetBody(); err != nil {
				return resp, nil //nolint:nilerr // the answer that is there counts
			}
		}
		// A short rest is read, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<12)
		resp.Body.Close()
		if err := sleep(r.Context(), wait); err != nil {
			return nil, err
		}
		r = again
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitFor is how long to wait before a request is sent again that was answered so,
// the nth time; 0 is not to.
func waitFor(resp *http.Response, n int, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	text := resp.Header.Get("Retry-After")
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return max(time.Duration(s)*time.Second, time.Millisecond)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), time.Millisecond)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return someWait << n
	}
	return 0
}
