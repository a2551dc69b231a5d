package containers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
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
	name := r.Form.Get("name")
	req, raw, err := decodeCreate(r)
	if err != nil {
		return err
	}
	if err := checkRequest(req); err != nil {
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
	adapted, err := adaptCreate(r, req, raw, a.o.CgroupVersion)
	if err != nil {
		return err
	}
	id, warnings, err := a.createContainer(r.Context(), creation{name: name, CreateRequest: req, platform: platform, plainReadOnly: r.Before("1.44")})
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusCreated, &container.CreateResponse{ID: id, Warnings: append(append([]string{}, warnings...), adapted...)})
}

// decodeCreate reads the body, of which no part is nil then.
func decodeCreate(r *route.Request) (*container.CreateRequest, []byte, error) {
	raw, err := r.ReadAll()
	if err != nil {
		return nil, nil, err
	}
	var req container.CreateRequest
	if err := route.DecodeJSON(bytes.NewReader(raw), &req); err != nil {
		return nil, nil, err
	}
	if req.Config == nil {
		return nil, nil, route.Invalidf("config cannot be empty in order to create a container")
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	if req.NetworkingConfig == nil {
		req.NetworkingConfig = &network.NetworkingConfig{}
	}
	if req.NetworkingConfig.EndpointsConfig == nil {
		req.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	return &req, raw, nil
}

// creation is a container to be made.
type creation struct {
	name string
	*container.CreateRequest
	platform *imagespec.Platform
	// plainReadOnly leaves mounts below a read-only bind writable, as versions of the
	// API before 1.44 do.
	plainReadOnly bool
}

// createContainer makes a container that can be started.
func (a *Area) createContainer(ctx context.Context, o creation) (id string, warnings []string, err error) {
	cfg, host := o.Config, o.HostConfig
	host.RestartPolicy.Name = cmp.Or(host.RestartPolicy.Name, container.RestartPolicyDisabled)
	if warnings, err = a.checkSettings(cfg, host); err != nil {
		return "", nil, err
	}
	var img *Image
	if cfg.Image != "" {
		if img, err = a.o.Images.Find(ctx, cfg.Image, o.platform); err != nil {
			return "", nil, err
		}
		if o.platform == nil {
			warnings = append(warnings, foreignPlatform(img)...)
		}
	}
	if err := a.checkEndpoints(ctx, o.NetworkingConfig); err != nil {
		return "", nil, err
	}
	merge(cfg, img)
	if len(cfg.Entrypoint) == 1 && cfg.Entrypoint[0] == "" {
		cfg.Entrypoint = nil
	}
	path, args := command(cfg)
	if path == "" && len(cfg.Cmd) == 0 {
		return "", nil, route.Invalidf("no command specified")
	}
	if err := checkLogs(&host.LogConfig); err != nil {
		return "", nil, err
	}
	if len(cfg.Volumes) == 0 {
		cfg.Volumes = nil
		if img == nil {
			cfg.Volumes = map[string]struct{}{}
		}
	}
	id = newID()
	a.fillHost(host)
	if err := a.resolveModes(host); err != nil {
		return "", nil, err
	}
	if cfg.Hostname == "" {
		cfg.Hostname = defaultHostname(host, id)
	}
	c := newCont(record{
		ID: id, Created: time.Now().UTC(), Config: cfg, HostConfig: host, Path: path, Args: args, PlainReadOnly: o.plainReadOnly,
	})
	if ep := o.NetworkingConfig.EndpointsConfig[host.NetworkMode.NetworkName()]; ep != nil && !cfg.NetworkDisabled {
		c.rec.MAC = ep.MacAddress
	}
	if img != nil {
		c.rec.ImageID, c.rec.Image = img.ID, img.Descriptor
	}
	if err := a.nameIt(c, o.name); err != nil {
		return "", nil, err
	}
	more, err := a.finishCreate(ctx, c, img, o.NetworkingConfig)
	if err != nil {
		a.mu.Lock()
		delete(a.names, c.rec.Name)
		a.mu.Unlock()
		return "", nil, err
	}
	a.publish(c, events.ActionCreate)
	return id, append(warnings, more...), nil
}

// finishCreate decides what needs the container's name, and makes the container.
func (a *Area) finishCreate(ctx context.Context, c *cont, img *Image, n *network.NetworkingConfig) (warnings []string, err error) {
	host := c.rec.HostConfig
	if _, err := securityOptions(host.SecurityOpt); err != nil {
		return nil, err
	}
	if warnings, err = a.resolveLinks(host); err != nil {
		return nil, err
	}
	for i, l := range host.Links {
		target, alias, _ := strings.Cut(l, ":")
		host.Links[i] = "/" + strings.TrimPrefix(target, "/") + ":/" + c.rec.Name + "/" + alias
	}
	c.rec.Endpoints = endpoints(c.rec.Config, host, n)
	return warnings, a.make(ctx, c, img)
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
	c.rec.Name = strings.TrimPrefix(name, "/")
	return a.reserve(c.rec.Name, c.rec.ID)
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
	if err := a.saveDurable(c); err != nil {
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

// resolveModes turns names of containers whose namespaces are shared into ids. That
// the one whose network is shared is not there is an error of the start.
func (a *Area) resolveModes(h *container.HostConfig) error {
	if c, err := a.find(h.NetworkMode.ConnectedContainer()); err == nil {
		h.NetworkMode = container.NetworkMode("container:" + c.rec.ID)
	}
	if of := h.IpcMode.Container(); of != "" {
		c, err := a.find(of)
		if err != nil {
			return route.Invalid(err)
		}
		h.IpcMode = container.IpcMode("container:" + c.rec.ID)
	}
	if of := h.PidMode.Container(); of != "" {
		c, err := a.find(of)
		if err != nil {
			return route.Invalid(err)
		}
		h.PidMode = container.PidMode("container:" + c.rec.ID)
	}
	return nil
}

// foreignPlatform warns of an image that is not made for this machine.
func foreignPlatform(img *Image) []string {
	have, here := img.Config.Platform, platforms.DefaultSpec()
	if platforms.Only(here).Match(have) {
		return nil
	}
	return []string{fmt.Sprintf("The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested",
		platforms.FormatAll(have), platforms.FormatAll(here))}
}

const linksDeprecated = "Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead."

// resolveLinks checks that the containers that are linked exist. Networks of users have
// their own links, beside which these do not count.
func (a *Area) resolveLinks(h *container.HostConfig) (warnings []string, err error) {
	if h.NetworkMode.IsUserDefined() {
		h.Links = nil
		return nil, nil
	}
	for i, l := range h.Links {
		name, alias, err := parseLink(l)
		if err != nil {
			return nil, err
		}
		c, err := a.find(name)
		for err == nil && c.rec.HostConfig.NetworkMode.IsContainer() {
			name = c.rec.HostConfig.NetworkMode.ConnectedContainer()
			c, err = a.find(name)
		}
		if err != nil {
			return nil, route.Invalid(fmt.Errorf("could not get container for %s: %w", name, err))
		}
		if c.rec.HostConfig.NetworkMode.IsHost() {
			return nil, route.Invalidf("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		h.Links[i] = c.rec.Name + ":" + alias
	}
	if h.NetworkMode.IsBridge() && len(h.Links) > 0 {
		warnings = append(warnings, linksDeprecated)
	}
	return warnings, nil
}

// parseLink reads "name:alias", also in the form that inspect shows. Docker answers what
// cannot be read as an internal error.
func parseLink(s string) (name, alias string, err error) {
	if s == "" {
		return "", "", route.Internalf("empty string specified for links")
	}
	name, alias, has := strings.Cut(s, ":")
	if strings.Contains(alias, ":") {
		return "", "", route.Internalf("bad format for links: %s", s)
	}
	if !has {
		alias = name
	}
	if strings.HasPrefix(alias, "/") {
		alias = alias[strings.LastIndex(alias, "/")+1:]
	}
	return strings.TrimPrefix(name, "/"), alias, nil
}
