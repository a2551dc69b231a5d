package containers

import (
	"context"
	"fmt"
	"net/http"
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
	until, err := f.Until(time.Now())
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
