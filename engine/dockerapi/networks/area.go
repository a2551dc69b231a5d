// Package networks is the Docker API's area of networks: /networks. What it serves is
// in engine/bridge; here are Docker's forms, filters and words. Connecting a container
// is the containers' matter, for one that does not run has only its settings changed.
package networks

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Networks is the part of bridge.Networks that the area needs.
type Networks interface {
	Create(ctx context.Context, s bridge.Spec) (*bridge.Network, error)
	Remove(ctx context.Context, network string) (*bridge.Network, error)
	Prune(ctx context.Context, want func(*bridge.Network) bool) ([]*bridge.Network, error)
	Get(ctx context.Context, network string) (*bridge.Network, error)
	List(ctx context.Context) ([]*bridge.Network, error)
}

// Containers connects containers, named by name or id, whether they run or not.
type Containers interface {
	ConnectNetwork(ctx context.Context, container string, n *bridge.Network, s *network.EndpointSettings) error
	// DisconnectNetwork with force also forgets what a network has of a container that
	// is no more.
	DisconnectNetwork(ctx context.Context, container string, n *bridge.Network, force bool) error
}

// Options of New.
type Options struct {
	Networks   Networks
	Containers Containers // nil: there are no containers
	Events     *event.Hub
}

// Area is the area of networks.
type Area struct{ o Options }

// New makes it.
func New(o Options) *Area { return &Area{o} }

// Routes are the endpoints of the area.
func (a *Area) Routes() []route.Route {
	return []route.Route{
		route.Get("/networks", a.list),
		route.Get("/networks/", a.list),
		route.Post("/networks/create", a.create),
		route.Post("/networks/prune", a.prune).From("1.25"),
		route.Post("/networks/{name}/connect", a.connect),
		route.Post("/networks/{name}/disconnect", a.disconnect),
		route.Get("/networks/{name}", a.inspect),
		route.Delete("/networks/{name}", a.remove),
	}
}

// Tell returns a function for bridge.Options.Event, which publishes what happens to
// networks.
func Tell(h *event.Hub) func(action string, n *bridge.Network, container string) {
	return func(action string, n *bridge.Network, container string) {
		attributes := map[string]string{"name": n.Name, "type": n.Driver}
		if container != "" {
			attributes["container"] = container
		}
		h.Publish(events.NetworkEventType, events.Action(action), n.ID, attributes)
	}
}

func (a *Area) create(w http.ResponseWriter, r *route.Request) error {
	var req network.CreateRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	n, err := a.o.Networks.Create(r.Context(), spec(&req))
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusCreated, &network.CreateResponse{ID: n.ID})
}

func spec(req *network.CreateRequest) bridge.Spec {
	s := bridge.Spec{
		Name: req.Name, Driver: req.Driver, Scope: req.Scope, IPv4: req.EnableIPv4, IPv6: req.EnableIPv6,
		Internal: req.Internal, Attachable: req.Attachable, Ingress: req.Ingress, ConfigOnly: req.ConfigOnly,
		Options: req.Options, Labels: req.Labels,
	}
	if req.ConfigFrom != nil {
		s.ConfigFrom = req.ConfigFrom.Network
	}
	if req.IPAM != nil {
		s.IPAM.Driver, s.IPAM.Options = req.IPAM.Driver, req.IPAM.Options
		for _, c := range req.IPAM.Config {
			s.IPAM.Config = append(s.IPAM.Config, bridge.Pool{Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway, Aux: c.AuxAddress})
		}
	}
	return s
}

// plain is a network as lists show it.
func plain(n *bridge.Network) network.Network {
	out := network.Network{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: "local", Driver: n.Driver, EnableIPv4: n.IPv4, EnableIPv6: n.IPv6,
		IPAM:     network.IPAM{Driver: n.IPAM.Driver, Options: n.IPAM.Options},
		Internal: n.Internal, Attachable: n.Attachable, ConfigOnly: n.ConfigOnly,
		ConfigFrom: network.ConfigReference{Network: n.ConfigFrom}, Options: n.Options, Labels: n.Labels,
	}
	for _, p := range n.IPAM.Config {
		out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{Subnet: p.Subnet, IPRange: p.Range, Gateway: p.Gateway, AuxAddress: p.Aux})
	}
	return out
}

// statusSince is the API version from which inspect counts addresses.
const statusSince = "1.52"

func (a *Area) inspect(w http.ResponseWriter, r *route.Request) error {
	name := r.Var("name")
	n, err := a.o.Networks.Get(r.Context(), name)
	if err != nil {
		return err
	}
	if scope := r.Form.Get("scope"); scope != "" && scope != "local" {
		return route.NotFoundf("network %s not found", name)
	}
	out := network.Inspect{Network: plain(n), Containers: map[string]network.EndpointResource{}}
	for id, at := range n.Attached {
		out.Containers[id] = network.EndpointResource{
			Name: at.Name, EndpointID: at.EndpointID, MacAddress: network.HardwareAddr(at.MAC), IPv4Address: at.IPv4, IPv6Address: at.IPv6,
		}
	}
	if r.Since(statusSince) && len(n.Usage) > 0 {
		out.Status = &network.Status{IPAM: network.IPAMStatus{Subnets: map[netip.Prefix]network.SubnetStatus{}}}
		for subnet, u := range n.Usage {
			out.Status.IPAM.Subnets[subnet] = network.SubnetStatus{IPsInUse: u.InUse, DynamicIPsAvailable: u.Available}
		}
	}
	return route.WriteJSON(w, http.StatusOK, &out)
}

func (a *Area) list(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	want, err := match(f)
	if err != nil {
		return err
	}
	all, err := a.o.Networks.List(r.Context())
	if err != nil {
		return err
	}
	out := []network.Summary{}
	for _, n := range all {
		if want(n) {
			out = append(out, network.Summary{Network: plain(n)})
		}
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// match reads the filters of a list.
func match(f filters.Args) (func(*bridge.Network) bool, error) {
	if err := f.Check("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	dangling := f["dangling"]
	if len(dangling) > 1 {
		return nil, route.Invalidf(`got more than one value for filter key "dangling"`)
	}
	for _, v := range dangling {
		if !slices.Contains([]string{"true", "1", "false", "0"}, v) {
			return nil, route.Invalidf(`invalid value for filter 'dangling': must be "true" (or "1"), or "false" (or "0")`)
		}
	}
	for _, v := range f["type"] {
		if v != "builtin" && v != "custom" {
			return nil, route.Invalidf("invalid value for filter 'type': must be 'builtin' or 'custom'")
		}
	}
	return func(n *bridge.Network) bool {
		kind := "custom"
		if n.Predefined() {
			kind = "builtin"
		}
		if len(dangling) == 1 {
			unused := kind == "custom" && len(n.Attached) == 0
			if unused != (dangling[0] == "true" || dangling[0] == "1") {
				return false
			}
		}
		return f.Exact("driver", n.Driver) && contains(f["name"], n.Name) && prefixes(f["id"], n.ID) && f.Labels("label", n.Labels) &&
			f.Exact("scope", "local") && f.Exact("type", kind)
	}, nil
}

// contains is true where no name is asked for, or part of one.
func contains(want []string, name string) bool {
	return len(want) == 0 || slices.ContainsFunc(want, func(w string) bool { return strings.Contains(name, w) })
}

func prefixes(want []string, id string) bool {
	return len(want) == 0 || slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(id, w) })
}

func (a *Area) remove(w http.ResponseWriter, r *route.Request) error {
	if _, err := a.o.Networks.Remove(r.Context(), r.Var("name")); err != nil {
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
	if err := f.Check("label", "label!", "until"); err != nil {
		return err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return err
	}
	gone, err := a.o.Networks.Prune(r.Context(), func(n *bridge.Network) bool {
		return !n.ConfigOnly && (until.IsZero() || n.Created.Before(until)) &&
			f.Labels("label", n.Labels) && (!f.Has("label!") || !f.Labels("label!", n.Labels))
	})
	if err != nil {
		return err
	}
	a.o.Events.Publish(events.NetworkEventType, events.ActionPrune, "", map[string]string{"reclaimed": "0"})
	var out network.PruneReport
	for _, n := range gone {
		out.NetworksDeleted = append(out.NetworksDeleted, n.Name)
	}
	return route.WriteJSON(w, http.StatusOK, &out)
}

var errNoContainers = route.NotFound(errors.New("there are no containers"))

func (a *Area) connect(w http.ResponseWriter, r *route.Request) error {
	var req network.ConnectRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	n, err := a.o.Networks.Get(r.Context(), r.Var("name"))
	if err != nil {
		return err
	}
	if a.o.Containers == nil {
		return errNoContainers
	}
	s := req.EndpointConfig
	if s == nil {
		s = &network.EndpointSettings{}
	}
	if err := a.o.Containers.ConnectNetwork(r.Context(), req.Container, n, s); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *Area) disconnect(w http.ResponseWriter, r *route.Request) error {
	var req network.DisconnectRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	n, err := a.o.Networks.Get(r.Context(), r.Var("name"))
	if err != nil {
		return err
	}
	if a.o.Containers == nil {
		return errNoContainers
	}
	if err := a.o.Containers.DisconnectNetwork(r.Context(), req.Container, n, req.Force); err != nil {
		if !(req.Force && errdefs.IsNotFound(err)) {
			return err
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
