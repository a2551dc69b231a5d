package containers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) create(w http.ResponseWriter, r *route.Request) error {
	if err := r.CheckJSON(); err != nil {
		return err
	}
	name := strings.TrimPrefix(r.Form.Get("name"), "/")
	req, mac, err := decodeCreate(r)
	if err != nil {
		return err
	}
	var platform *imagespec.Platform
	if p := r.Form.Get("platform"); p != "" && r.Since("1.41") {
		parsed, err := platforms.Parse(p)
		if err != nil {
			return route.Invalid(err)
		}
		platform = &parsed
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	adjustVersion(r, req.HostConfig)
	var warnings []string
	if warning := moveMAC(r, req, mac); warning != "" {
		warnings = append(warnings, warning)
	}
	id, more, err := a.createContainer(r.Context(), name, req, platform)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusCreated, &container.CreateResponse{ID: id, Warnings: append(append([]string{}, warnings...), more...)})
}

// decodeCreate reads the body; the MAC address of old is returned apart.
func decodeCreate(r *route.Request) (*container.CreateRequest, string, error) {
	raw, err := r.ReadAll()
	if err != nil {
		return nil, "", err
	}
	var req container.CreateRequest
	if err := route.DecodeJSON(strings.NewReader(string(raw)), &req); err != nil {
		return nil, "", err
	}
	if req.Config == nil {
		return nil, "", route.Invalidf("config cannot be empty in order to create a container")
	}
	var old struct{ MacAddress string }
	if route.DecodeJSON(strings.NewReader(string(raw)), &old) != nil {
		old.MacAddress = ""
	}
	return &req, old.MacAddress, nil
}

// adjustVersion gives clients of old what they mean.
func adjustVersion(r *route.Request, h *container.HostConfig) {
	if r.Before("1.40") && h.IpcMode == "" {
		h.IpcMode = container.IPCModeShareable
	}
	if r.Before("1.41") && h.CgroupnsMode == "" {
		h.CgroupnsMode = container.CgroupnsModeHost
	}
}

const macDeprecated = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."

// moveMAC puts the container-wide address into the endpoint of the network mode.
func moveMAC(r *route.Request, req *container.CreateRequest, mac string) string {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return ""
	}
	mode := req.HostConfig.NetworkMode
	if mode == "" || mode.IsDefault() {
		mode = network.NetworkBridge
	}
	if !mode.IsContainer() && !mode.IsHost() && !mode.IsNone() && !req.NetworkDisabled {
		if req.NetworkingConfig == nil {
			req.NetworkingConfig = &network.NetworkingConfig{}
		}
		if req.NetworkingConfig.EndpointsConfig == nil {
			req.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
		}
		ep := req.NetworkingConfig.EndpointsConfig[string(mode)]
		if ep == nil {
			ep = &network.EndpointSettings{}
			req.NetworkingConfig.EndpointsConfig[string(mode)] = ep
		}
		if len(ep.MacAddress) == 0 {
			ep.MacAddress = network.HardwareAddr(hw)
		}
	}
	if r.Before("1.44") {
		return ""
	}
	return macDeprecated
}

// createContainer makes a container that can be started.
func (a *Area) createContainer(ctx context.Context, name string, req *container.CreateRequest, platform *imagespec.Platform) (id string, warnings []string, err error) {
	cfg, host := req.Config, req.HostConfig
	if err := a.checkConfig(cfg); err != nil {
		return "", nil, err
	}
	if warnings, err = a.checkHost(cfg, host); err != nil {
		return "", nil, err
	}
	var img *Image
	if cfg.Image != "" {
		if img, err = a.o.Images.Find(ctx, cfg.Image, platform); err != nil {
			return "", nil, err
		}
	}
	merge(cfg, img)
	path, args := command(cfg)
	if path == "" && len(cfg.Cmd) == 0 {
		return "", nil, route.Invalidf("no command specified")
	}
	if len(cfg.Volumes) == 0 {
		cfg.Volumes = nil
	}
	id = newID()
	a.fillHost(host)
	if err := a.resolveModes(host); err != nil {
		return "", nil, err
	}
	if cfg.Hostname == "" {
		cfg.Hostname = defaultHostname(host, id)
	}
	endpoints, err := a.endpoints(cfg, host, req.NetworkingConfig)
	if err != nil {
		return "", nil, err
	}
	more, err := a.resolveLinks(host)
	if err != nil {
		return "", nil, err
	}
	warnings = append(warnings, more...)
	c := newCont(record{
		ID: id, Created: time.Now().UTC(), Config: cfg, HostConfig: host, Endpoints: endpoints, Path: path, Args: args,
	})
	if img != nil {
		c.rec.ImageID, c.rec.Image = img.ID, img.Descriptor
	}
	if err := a.nameIt(c, name); err != nil {
		return "", nil, err
	}
	if len(host.Links) > 0 {
		for i, l := range host.Links {
			target, alias, _ := strings.Cut(l, ":")
			host.Links[i] = "/" + strings.TrimPrefix(target, "/") + ":/" + c.rec.Name + "/" + alias
		}
	}
	if err := a.make(ctx, c, img); err != nil {
		a.mu.Lock()
		delete(a.names, c.rec.Name)
		a.mu.Unlock()
		return "", nil, err
	}
	a.publish(c, events.ActionCreate)
	return id, warnings, nil
}

// nameIt reserves the container's name; nobody finds it before it is made.
func (a *Area) nameIt(c *cont, name string) error {
	if name != "" {
		if err := checkName(name); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == "" {
		name = a.randomName()
	}
	c.rec.Name = name
	return a.reserve(name, c.rec.ID)
}

// make makes what there is of a container; its file comes last and makes it whole.
func (a *Area) make(ctx context.Context, c *cont, img *Image) (err error) {
	id := c.rec.ID
	defer func() {
		if err != nil {
			undo := context.WithoutCancel(ctx)
			a.releaseVolumes(undo, c, true)
			err = errors.Join(err, a.dropEngine(undo, id), os.Remove(a.file(id)))
			if errors.Is(err, os.ErrNotExist) {
				err = firstError(err)
			}
		}
	}()
	spec := engine.ContainerSpec{ID: id, Labels: map[string]string{Mine: ""}, Command: []string{c.rec.Path}, User: "0", Skeleton: true}
	if img != nil {
		spec.Image = img.EngineID
	}
	if err := os.MkdirAll(a.dir(id), 0o711); err != nil {
		return err
	}
	if _, err := a.o.Engine.Create(ctx, spec); err != nil {
		return err
	}
	if err := a.makeMounts(ctx, c); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.save(c); err != nil {
		return err
	}
	a.all[id] = c
	return nil
}

// firstError leaves out of joined errors that there was nothing to take away.
func firstError(err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			if !errors.Is(e, os.ErrNotExist) {
				return e
			}
		}
	}
	return err
}

func defaultHostname(h *container.HostConfig, id string) string {
	if h.NetworkMode.IsHost() {
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return id[:12]
}

// resolveModes turns names of containers whose namespaces are shared into ids.
func (a *Area) resolveModes(h *container.HostConfig) error {
	for _, m := range []struct {
		of  string
		set func(string)
	}{
		{h.NetworkMode.ConnectedContainer(), func(s string) { h.NetworkMode = container.NetworkMode(s) }},
		{h.IpcMode.Container(), func(s string) { h.IpcMode = container.IpcMode(s) }},
		{h.PidMode.Container(), func(s string) { h.PidMode = container.PidMode(s) }},
	} {
		if m.of == "" {
			continue
		}
		c, err := a.find(m.of)
		if err != nil {
			return err
		}
		m.set("container:" + c.rec.ID)
	}
	return nil
}

const linksDeprecated = "Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead."

// resolveLinks checks that the containers that are linked exist.
func (a *Area) resolveLinks(h *container.HostConfig) (warnings []string, err error) {
	for i, l := range h.Links {
		name, alias, err := parseLink(l)
		if err != nil {
			return nil, err
		}
		c, err := a.find(name)
		if err != nil {
			return nil, route.Invalid(fmt.Errorf("could not get container for %s: %w", name, err))
		}
		h.Links[i] = c.rec.Name + ":" + alias
		if h.NetworkMode.IsBridge() && len(warnings) == 0 {
			warnings = append(warnings, linksDeprecated)
		}
	}
	return warnings, nil
}

// parseLink reads "name:alias", also in the form that inspect shows.
func parseLink(s string) (name, alias string, err error) {
	if s == "" {
		return "", "", route.Invalidf("empty string specified for links")
	}
	name, alias, has := strings.Cut(s, ":")
	if strings.Contains(alias, ":") {
		return "", "", route.Invalidf("bad format for links: %s", s)
	}
	if !has {
		alias = name
	}
	if strings.HasPrefix(alias, "/") {
		alias = alias[strings.LastIndex(alias, "/")+1:]
	}
	return strings.TrimPrefix(name, "/"), alias, nil
}
