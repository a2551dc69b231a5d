package images

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// encode is JSON as Docker stores it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := route.Encoder(&b).Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (a *Area) commit(w http.ResponseWriter, r *route.Request) error {
	var given *container.Config
	if err := r.ReadJSON(&given); err != nil {
		return err
	}
	ref, err := repoTag(r.Form.Get("repo"), r.Form.Get("tag"))
	if err != nil {
		return err
	}
	name := r.Form.Get("container")
	if a.o.Containers == nil {
		return route.NotFoundf("No such container: %s", name)
	}
	src, err := a.o.Containers.Source(r.Context(), name)
	if err != nil {
		return err
	}
	if given == nil {
		given = src.Config
	}
	cfg, err := changed(specConfig(given), r.Form["changes"])
	if err != nil {
		return err
	}
	inherit(&cfg, specConfig(src.Config))
	var layer io.Reader
	if src.Running && (!r.Has("pause") || r.Bool("pause")) {
		resume, err := src.Pause(r.Context())
		if err != nil {
			return err
		}
		defer resume()
	}
	stream, err := src.Layer(r.Context())
	if err != nil {
		return err
	}
	if stream != nil {
		defer stream.Close()
		layer = stream
	}
	c := committing{cfg: cfg, author: r.Form.Get("author"), comment: r.Form.Get("comment"), by: strings.Join(src.Config.Cmd, " "), at: time.Now().UTC()}
	rec, err := a.o.Store.AddLayer(r.Context(), src.Image, layer, c.config, "")
	if err != nil {
		return archiveError(err)
	}
	id := rec.Target.Digest.String()
	familiar := ""
	if ref != nil {
		if err := a.o.Store.Tag(r.Context(), rec.Target, ref.String()); err != nil {
			return err
		}
		familiar = reference.FamiliarString(ref)
		a.tell(events.ActionTag, id, familiar, cfg.Labels)
	}
	attributes := maps.Clone(src.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	maps.Copy(attributes, map[string]string{"name": src.Name, "image": src.Config.Image, "comment": c.comment, "imageID": id, "imageRef": familiar})
	a.o.Events.Publish(events.ContainerEventType, events.ActionCommit, src.ID, attributes)
	return route.WriteJSON(w, http.StatusCreated, &container.CommitResponse{ID: id})
}

// committing is what a commit's config is made of.
type committing struct {
	cfg                 dockerspec.DockerOCIImageConfig
	author, comment, by string
	at                  time.Time
}

var _ engine.LayerConfig = committing{}.config

// config follows the base's: its platform, its history and one entry more.
func (c committing) config(base []byte, diffIDs []digest.Digest, added bool) ([]byte, error) {
	var img dockerspec.DockerOCIImage
	if base != nil {
		if err := json.Unmarshal(base, &img); err != nil {
			return nil, err
		}
	}
	if c.author == "" {
		c.author = img.Author
	}
	if img.OS == "" {
		img.OS = "linux"
	}
	if img.Architecture == "" {
		img.Architecture = runtime.GOARCH
	}
	out := dockerspec.DockerOCIImage{Config: c.cfg}
	out.Platform = imagespec.Platform{Architecture: img.Architecture, OS: img.OS}
	out.Created, out.Author = &c.at, c.author
	out.RootFS = imagespec.RootFS{Type: "layers", DiffIDs: diffIDs}
	out.History = append(slices.Clone(img.History), imagespec.History{Created: &c.at, CreatedBy: c.by, Author: c.author, Comment: c.comment, EmptyLayer: !added})
	return encode(&out)
}

// specConfig is the part of a container's config that images have.
func specConfig(c *container.Config) dockerspec.DockerOCIImageConfig {
	var out dockerspec.DockerOCIImageConfig
	out.User, out.Env, out.Entrypoint, out.Cmd = c.User, c.Env, c.Entrypoint, c.Cmd
	out.Volumes, out.WorkingDir, out.Labels, out.StopSignal = c.Volumes, c.WorkingDir, c.Labels, c.StopSignal
	out.OnBuild, out.Shell, out.Healthcheck = c.OnBuild, c.Shell, c.Healthcheck
	if len(c.ExposedPorts) > 0 {
		out.ExposedPorts = map[string]struct{}{}
		for p := range c.ExposedPorts {
			out.ExposedPorts[p.String()] = struct{}{}
		}
	}
	return out
}

// inherit completes a config with what the container has.
func inherit(c *dockerspec.DockerOCIImageConfig, from dockerspec.DockerOCIImageConfig) {
	if c.User == "" {
		c.User = from.User
	}
	c.ExposedPorts = union(c.ExposedPorts, from.ExposedPorts)
	c.Volumes = union(c.Volumes, from.Volumes)
	for _, e := range from.Env {
		key, _, _ := strings.Cut(e, "=")
		if !slices.ContainsFunc(c.Env, func(o string) bool { k, _, _ := strings.Cut(o, "="); return k == key }) {
			c.Env = append(slices.Clip(c.Env), e)
		}
	}
	labels := maps.Clone(from.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	c.Labels = labels
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = from.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = from.Entrypoint
		}
	}
	if c.WorkingDir == "" {
		c.WorkingDir = from.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = from.StopSignal
	}
	if h := from.Healthcheck; h != nil {
		if c.Healthcheck == nil {
			c.Healthcheck = &dockerspec.HealthcheckConfig{}
		}
		mine := *c.Healthcheck
		if len(mine.Test) == 0 {
			mine.Test = h.Test
		}
		for _, d := range []struct{ to, from *time.Duration }{{&mine.Interval, &h.Interval}, {&mine.Timeout, &h.Timeout}, {&mine.StartPeriod, &h.StartPeriod}, {&mine.StartInterval, &h.StartInterval}} {
			if *d.to == 0 {
				*d.to = *d.from
			}
		}
		if mine.Retries == 0 {
			mine.Retries = h.Retries
		}
		c.Healthcheck = &mine
	}
}

func union(a, b map[string]struct{}) map[string]struct{} {
	if len(a) == 0 {
		return b
	}
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
