package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// onePlatformBefore is the API version from which several platforms may be given.
const onePlatformBefore = "1.52"

func wantedPlatforms(r *route.Request) ([]imagespec.Platform, error) {
	if r.Before("1.48") {
		return nil, nil
	}
	if r.Before(onePlatformBefore) && len(r.Form["platform"]) > 1 {
		return nil, route.Invalidf("multiple platform parameters are not supported in this API version; use API version 1.52 or later")
	}
	return platformList(r.Form["platform"])
}

func (a *Area) load(w http.ResponseWriter, r *route.Request) error {
	want, err := wantedPlatforms(r)
	if err != nil {
		return err
	}
	m := route.NewMessages(w)
	recs, err := a.o.Store.LoadWith(r.Context(), r.Body, engine.LoadOptions{Keep: true, Platforms: want})
	if err != nil {
		err = archiveError(err)
		return m.Send(&struct {
			ErrorDetail jsonstream.Error `json:"errorDetail"`
			Error       string           `json:"error"`
		}{jsonstream.Error{Message: err.Error()}, err.Error()})
	}
	for _, rec := range recs {
		id := rec.Target.Digest.String()
		text := "Loaded image: " + engine.FamiliarRef(rec.Name)
		if rec.Name == "" {
			text = "Loaded image ID: " + id
		}
		a.tell(events.ActionLoad, id, id, a.labels(r.Context(), rec))
		if err := m.Text(text + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// archiveError is what is wrong with an archive, without who found it.
func archiveError(err error) error {
	var ae *engine.ArchiveError
	if !errors.As(err, &ae) {
		return err
	}
	text := ae.Err.Error()
	for _, p := range []error{engine.ErrInvalid, engine.ErrCorrupt, engine.ErrNoSpace, engine.ErrNotFound} {
		text = strings.TrimPrefix(text, p.Error()+": ")
	}
	switch ae.Kind {
	case engine.ErrNotFound:
		return route.NotFound(errors.New(text))
	case engine.ErrInvalid:
		return route.Invalid(errors.New(text))
	}
	return route.Internal(errors.New(text))
}

func (a *Area) save(w http.ResponseWriter, r *route.Request) error {
	names := r.Form["names"]
	if n := r.Var("name"); n != "" {
		names = []string{n}
	}
	want, err := wantedPlatforms(r)
	if err != nil {
		return err
	}
	all, err := a.o.Store.Records(r.Context())
	if err != nil {
		return err
	}
	var recs []engine.ImageRecord
	for _, n := range names {
		found, err := saved(all, n)
		if err != nil {
			return err
		}
		recs = append(recs, found...)
	}
	for _, rec := range recs {
		id := rec.Target.Digest.String()
		a.tell(events.ActionSave, id, id, a.labels(r.Context(), rec))
	}
	out := &lateHeader{w: w}
	err = a.o.Store.Save(r.Context(), out, recs, want)
	if err != nil && !out.begun {
		w.Header().Del("Content-Type")
	}
	return err
}

// lateHeader says what is sent when it is sent: an error before can still be told.
type lateHeader struct {
	w     http.ResponseWriter
	begun bool
}

func (l *lateHeader) Write(p []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-tar")
	}
	return l.w.Write(p)
}

// saved are the records that a name of an export means: without a tag all of the
// repository, by id or digest one without a name.
func saved(all []engine.ImageRecord, name string) ([]engine.ImageRecord, error) {
	rec, err := resolve(all, name)
	ref, referr := reference.ParseNormalizedNamed(name)
	byDigest := err == nil && isIDPrefix(rec.Target.Digest.String(), name)
	if referr == nil {
		if _, ok := ref.(reference.Digested); ok {
			byDigest = true
		}
	}
	if !byDigest && referr == nil && reference.IsNameOnly(ref) {
		var out []engine.ImageRecord
		for _, r := range all {
			n, err := reference.ParseNormalizedNamed(r.Name)
			if err != nil || n.Name() != ref.Name() {
				continue
			}
			if _, tagged := n.(reference.Tagged); tagged {
				out = append(out, r)
			}
		}
		if len(out) == 0 {
			return nil, errNoImage(ref)
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	out := *rec
	if byDigest {
		out.Name = ""
	}
	return []engine.ImageRecord{out}, nil
}

// importImage makes an image of a tar of files.
func (a *Area) importImage(w http.ResponseWriter, r *route.Request, want *imagespec.Platform) error {
	src, comment := r.Form.Get("fromSrc"), r.Form.Get("message")
	ref, err := repoTag(r.Form.Get("repo"), r.Form.Get("tag"))
	if err != nil {
		return err
	}
	if comment == "" {
		comment = "Imported from " + src
	}
	cfg, err := changed(dockerspec.DockerOCIImageConfig{}, r.Form["changes"])
	if err != nil {
		return err
	}
	m := route.NewMessages(w)
	var body io.Reader = r.Body
	if src != "-" {
		resp, err := fetch(r.Context(), src)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := m.Status("", "Downloading from %s", resp.Request.URL); err != nil {
			return err
		}
		body = resp.Body
	}
	now := time.Now().UTC()
	img := dockerspec.DockerOCIImage{Config: cfg}
	img.Created = &now
	img.OS, img.Architecture = "linux", runtime.GOARCH
	if want != nil {
		img.Platform = *want
	}
	img.History = []imagespec.History{{Created: &now, Comment: comment}}
	name := ""
	if ref != nil {
		name = ref.String()
	}
	rec, err := a.o.Store.AddLayer(r.Context(), nil, body, configOf(&img), name)
	if err != nil {
		return m.Fail(archiveError(err))
	}
	id := rec.Target.Digest.String()
	if ref != nil {
		a.tell(events.ActionTag, id, reference.FamiliarString(ref), cfg.Labels)
	}
	a.tell(events.ActionImport, id, id, cfg.Labels)
	return m.Status("", "%s", id)
}

// fetch gets what an import is made of; a source without a scheme is http.
func fetch(ctx context.Context, src string) (*http.Response, error) {
	if !strings.Contains(src, "://") {
		src = "http://" + src
	}
	u, err := url.Parse(src)
	if err != nil {
		return nil, route.Invalid(err)
	}
	target := u.String()
	if u.Host == "" {
		return nil, route.Internal(&url.Error{Op: "Get", URL: strings.TrimSuffix(target, "//"), Err: errors.New("http: no Host in request URL")})
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, route.Invalid(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, route.Internal(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		resp.Body.Close()
		failed := fmt.Errorf("failed to GET %s with status %s", target, resp.Status)
		switch resp.StatusCode {
		case http.StatusNotFound:
			return nil, route.NotFound(failed)
		case http.StatusBadRequest:
			return nil, route.Invalid(failed)
		case http.StatusUnauthorized:
			return nil, route.Unauthorized(failed)
		case http.StatusForbidden:
			return nil, route.Forbidden(failed)
		case http.StatusConflict:
			return nil, route.Conflict(failed)
		}
		return nil, route.Internal(failed)
	}
	return resp, nil
}

// configOf puts the layers into an image's config and encodes it.
func configOf(img *dockerspec.DockerOCIImage) engine.LayerConfig {
	return func(_ []byte, diffIDs []digest.Digest, _ bool) ([]byte, error) {
		img.RootFS = imagespec.RootFS{Type: "layers", DiffIDs: diffIDs}
		b, err := encode(img)
		if err != nil {
			return nil, fmt.Errorf("image's config: %w", err)
		}
		return b, nil
	}
}
