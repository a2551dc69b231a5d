package containers

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// Counts are how many containers there are, by state.
func (a *Area) Counts(context.Context) (running, paused, stopped int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.all {
		switch {
		case c.paused:
			paused++
		case c.running:
			running++
		default:
			stopped++
		}
	}
	return running, paused, stopped
}

// ImageReferences are what each container's creator called its image, by the
// container's id.
func (a *Area) ImageReferences() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]string, len(a.all))
	for id, c := range a.all {
		out[id] = c.rec.Config.Image
	}
	return out
}

// Usage is what containers take on the disk; with items, each.
func (a *Area) Usage(ctx context.Context, items bool) (*container.DiskUsage, error) {
	out := &container.DiskUsage{}
	r := route.NewRequest((&http.Request{Method: http.MethodGet, Form: url.Values{"size": {"1"}}}).WithContext(ctx), route.Version, "", "")
	for _, v := range a.sorted() {
		s, err := a.summary(r, &v)
		if err != nil {
			return nil, err
		}
		out.TotalCount++
		out.TotalSize += s.SizeRw
		if v.running || v.restarting || v.paused {
			out.ActiveCount++
		} else {
			out.Reclaimable += s.SizeRw
		}
		if items {
			out.Items = append(out.Items, *s)
		}
	}
	return out, nil
}

// InUse tells which container, by its id, uses an image, by the id that Docker shows.
func (a *Area) InUse(image string) (id string, running, used bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.all {
		if c.rec.ImageID == image {
			id, used = c.rec.ID, true
			if running = c.running; running {
				break
			}
		}
	}
	return id, running, used
}
