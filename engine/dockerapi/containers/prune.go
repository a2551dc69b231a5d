package containers

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) prune(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	if err := f.Check("label", "label!", "until"); err != nil {
		return err
	}
	until, err := untilFilter(f, time.Now())
	if err != nil {
		return err
	}
	out := container.PruneReport{}
	ctx := context.WithoutCancel(r.Context())
	for _, v := range a.sorted() {
		if r.Context().Err() != nil {
			break
		}
		if v.running || v.restarting || (!until.IsZero() && v.Created.After(until)) ||
			!f.Labels("label", v.Config.Labels) || (f.Has("label!") && f.Labels("label!", v.Config.Labels)) {
			continue
		}
		c, err := a.find(v.ID)
		if err != nil {
			continue // somebody else was faster
		}
		own, _, err := a.o.Engine.Size(ctx, v.ID)
		if err != nil {
			continue
		}
		if err := a.removeContainer(ctx, c, v.ID, false, false); err != nil {
			a.notify("prune", v.ID, err)
			continue
		}
		out.ContainersDeleted = append(out.ContainersDeleted, v.ID)
		out.SpaceReclaimed += uint64(own)
	}
	a.o.Events.Publish(events.ContainerEventType, events.ActionPrune, "", map[string]string{"reclaimed": fmt.Sprint(out.SpaceReclaimed)})
	return route.WriteJSON(w, http.StatusOK, &out)
}

// untilFilter reads a time, or how long before now.
func untilFilter(f filters.Args, now time.Time) (time.Time, error) {
	list := f["until"]
	switch len(list) {
	case 0:
		return time.Time{}, nil
	case 1:
	default:
		return time.Time{}, route.Invalidf("more than one until filter specified")
	}
	if d, err := time.ParseDuration(list[0]); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, list[0]); err == nil {
			return t, nil
		}
	}
	if s, err := strconv.ParseFloat(list[0], 64); err == nil {
		return time.Unix(0, int64(s*1e9)), nil
	}
	return time.Time{}, route.Invalidf("invalid filter 'until=%s'", list[0])
}
