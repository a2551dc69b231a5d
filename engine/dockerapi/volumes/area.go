package volumes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/volume"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// clusterVolumes is the API version that has volumes of a swarm.
const clusterVolumes = "1.42"

// Area is the area of volumes.
type Area struct{ s *Store }

// New makes it over a store.
func New(s *Store) *Area { return &Area{s} }

// Routes are the endpoints of the area.
func (a *Area) Routes() []route.Route {
	return []route.Route{
		route.Get("/volumes", a.list),
		route.Post("/volumes/create", a.create),
		route.Post("/volumes/prune", a.prune).From("1.25"),
		route.Get("/volumes/{name}", a.inspect),
		route.Put("/volumes/{name}", a.update).From(clusterVolumes),
		route.Delete("/volumes/{name}", a.remove),
	}
}

func (a *Area) create(w http.ResponseWriter, r *route.Request) error {
	var req volume.CreateRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	if req.ClusterVolumeSpec != nil && r.Since(clusterVolumes) {
		return route.ErrNoManager
	}
	v, err := a.s.Create(r.Context(), Spec{req.Name, req.Driver, req.DriverOpts, req.Labels}, "")
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusCreated, v)
}

func (a *Area) inspect(w http.ResponseWriter, r *route.Request) error {
	v, err := a.s.Get(r.Var("name"))
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, v)
}

func (a *Area) list(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return fmt.Errorf("error reading volume filters: %w", err)
	}
	if err := f.Check("dangling", "name", "driver", "label"); err != nil {
		return err
	}
	dangling, err := f.Bool("dangling", false)
	if err != nil {
		return err
	}
	list := a.s.list(func(v found) bool {
		return f.Exact("driver", v.Driver) && f.Match("name", v.Name) && byLabels(f, v) &&
			(!f.Has("dangling") || v.used != dangling)
	})
	return route.WriteJSON(w, http.StatusOK, &volume.ListResponse{Volumes: plain(list)})
}

func plain(list []found) []volume.Volume {
	out := make([]volume.Volume, len(list))
	for i := range list {
		out[i] = *list[i].Volume
	}
	return out
}

// byLabels holds the filters label and label!.
func byLabels(f filters.Args, v found) bool {
	return f.Labels("label", v.Labels) && (!f.Has("label!") || !f.Labels("label!", v.Labels))
}

// update is for volumes of a swarm.
func (a *Area) update(http.ResponseWriter, *route.Request) error {
	return route.Unavailablef("volume update only valid for cluster volumes, but swarm is unavailable")
}

func (a *Area) remove(w http.ResponseWriter, r *route.Request) error {
	err := a.s.Remove(r.Context(), r.Var("name"))
	if err != nil && !(errors.Is(err, ErrNotFound) && r.Bool("force")) {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Area) prune(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	if r.Before("1.42") {
		f["all"] = append(f["all"], "true")
	}
	report, err := a.s.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, report)
}

// errPruning is Docker's answer to a second prune at the same time.
var errPruning = route.Conflict(errors.New("a prune operation is already running"))

// Prune removes the volumes that nobody holds and the filters take: without the
// filter all=true, only those made without a name. Volumes with options stay, since
// their data is elsewhere.
func (s *Store) Prune(ctx context.Context, f filters.Args) (*volume.PruneReport, error) {
	s.mu.Lock()
	busy := s.pruning
	s.pruning = true
	s.mu.Unlock()
	if busy {
		return nil, errPruning
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pruning = false
	}()
	all, err := pruneAll(f)
	if err != nil {
		return nil, err
	}
	if err := f.Check("label", "label!", "all"); err != nil {
		return nil, err
	}
	list := s.list(func(v found) bool {
		_, anonymous := v.Labels[AnonymousLabel]
		return !v.used && len(v.Options) == 0 && (all || anonymous) && byLabels(f, v)
	})
	report := &volume.PruneReport{VolumesDeleted: []string{}}
	for _, v := range list {
		if ctx.Err() != nil {
			break
		}
		size, err := usage(ctx, v.Mountpoint)
		if err == nil {
			err = s.Remove(ctx, v.Name)
		}
		if err != nil {
			s.o.Log.Warn("a volume is not pruned", "volume", v.Name, "err", err)
			continue
		}
		report.SpaceReclaimed += uint64(size)
		report.VolumesDeleted = append(report.VolumesDeleted, v.Name)
	}
	s.tell(events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

func pruneAll(f filters.Args) (bool, error) {
	values := slices.Clone(f["all"])
	slices.Sort(values)
	switch values = slices.Compact(values); len(values) {
	case 0:
		return false, nil
	case 1:
		all, err := strconv.ParseBool(values[0])
		if err != nil {
			return false, route.Invalidf("invalid filter 'all': %w", err)
		}
		return all, nil
	}
	return false, route.Invalidf("invalid filter 'all=[%s]': only one value is expected", strings.Join(values, " "))
}
