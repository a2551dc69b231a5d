package system

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) events(w http.ResponseWriter, r *route.Request) error {
	since, until, err := span(r)
	if err != nil {
		return err
	}
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	kind := mediaType(r)
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusOK)
	out := route.NewFlusher(w)
	if err := out.Flush(); err != nil {
		return err
	}
	send := sender(r, out, kind)
	now := time.Now()
	if since.IsZero() && !until.IsZero() {
		since = time.Unix(0, 0) // all that is remembered, up to then
	}
	past, coming := a.o.Events.Subscribe(r.Context(), since, until, wanted(r, f))
	for i := range past {
		if err := send(&past[i]); err != nil {
			return err
		}
	}
	var end <-chan time.Time
	if !until.IsZero() {
		if until.Before(now) {
			return nil
		}
		timer := time.NewTimer(until.Sub(now))
		defer timer.Stop()
		end = timer.C
	}
	for {
		select {
		case m, ok := <-coming:
			if !ok {
				return nil
			}
			if err := send(&m); err != nil {
				return err
			}
		case <-end:
			return nil
		}
	}
}

// span reads since and until.
func span(r *route.Request) (since, until time.Time, err error) {
	if since, err = parseTime(r.Form.Get("since")); err != nil {
		return since, until, route.Invalidf("invalid value for 'since': %w", err)
	}
	if until, err = parseTime(r.Form.Get("until")); err != nil {
		return since, until, route.Invalidf("invalid value for 'until': %w", err)
	}
	if !until.IsZero() && until.Before(since) {
		return since, until, route.Invalidf("`since` time (%s) cannot be after `until` time (%s)", r.Form.Get("since"), r.Form.Get("until"))
	}
	return since, until, nil
}

// mediaType is how the events are written: as the client would have them, or else
// as its version of the API expects.
func mediaType(r *route.Request) string {
	kind := types.MediaTypeJSONLines
	if r.Before("1.52") {
		kind = types.MediaTypeJSON
	}
	best := 0.0
	for _, spec := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		name, parameters, _ := strings.Cut(spec, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		q := 1.0
		for _, p := range strings.Split(parameters, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
				n, err := strconv.ParseFloat(v, 64)
				if err != nil {
					n = 0
				}
				q = n
			}
		}
		if q > best && slices.Contains([]string{types.MediaTypeJSONLines, types.MediaTypeNDJSON, types.MediaTypeJSONSequence}, name) {
			kind, best = name, q
		}
	}
	return kind
}

// oldEvent has members that clients of before 1.52 read.
type oldEvent struct {
	*events.Message
	ID     string        `json:"id"`
	Status events.Action `json:"status"`
	From   *string       `json:"from,omitempty"`
}

// sender writes one event to out.
func sender(r *route.Request, out io.Writer, kind string) func(*events.Message) error {
	return func(m *events.Message) error {
		var v any = m
		if r.Before("1.52") {
			switch m.Type {
			case events.ContainerEventType:
				image := m.Actor.Attributes["image"]
				v = &oldEvent{m, m.Actor.ID, m.Action, &image}
			case events.ImageEventType:
				v = &oldEvent{m, m.Actor.ID, m.Action, nil}
			}
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if kind == types.MediaTypeJSONSequence {
			b = append([]byte{0x1e}, b...)
		}
		_, err = out.Write(append(b, '\n'))
		return err
	}
}

// wanted decides which events a request sees.
func wanted(r *route.Request, f filters.Args) func(*events.Message) bool {
	noCreate := r.Before("1.46") // the first with images' create
	return func(m *events.Message) bool {
		if noCreate && m.Type == events.ImageEventType && m.Action == events.ActionCreate {
			return false
		}
		return matches(f, m)
	}
}

// named are the kinds whose filter takes the begin of an id or of a name.
var named = []events.Type{
	events.DaemonEventType, events.ContainerEventType, events.PluginEventType, events.VolumeEventType, events.NetworkEventType,
	events.NodeEventType, events.ServiceEventType, events.SecretEventType, events.ConfigEventType,
}

func matches(f filters.Args, m *events.Message) bool {
	if !matchAction(f, string(m.Action)) || !f.Exact("type", string(m.Type)) || !f.Exact("scope", m.Scope) || !matchImage(f, m) {
		return false
	}
	for _, kind := range named {
		if !f.Prefix(string(kind), m.Actor.ID) && !f.Prefix(string(kind), m.Actor.Attributes["name"]) {
			return false
		}
	}
	return f.Labels("label", m.Actor.Attributes)
}

// matchAction takes actions that have something after a colon, such as
// "health_status: healthy", also by what is before it.
func matchAction(f filters.Args, action string) bool {
	for _, v := range f["event"] {
		switch v {
		case "health_status", "exec_create", "exec_start":
			return f.Prefix("event", action)
		}
	}
	return f.Exact("event", action)
}

// matchImage takes events of an image and those of containers made from it, with or
// without its tag.
func matchImage(f filters.Args, m *events.Message) bool {
	attribute := "image"
	if m.Type == events.ImageEventType {
		attribute = "name"
	}
	name := m.Actor.Attributes[attribute]
	return f.Exact("image", m.Actor.ID) || f.Exact("image", name) ||
		f.Exact("image", withoutTag(m.Actor.ID)) || f.Exact("image", withoutTag(name))
}

func withoutTag(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarName(ref)
}
