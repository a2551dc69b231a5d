package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// maxTagPages bounds the pages of a list of tags: a registry whose pages lead back
// to the first would never end.
const maxTagPages = 1000

// remote asks one registry about one repository, beside pulls and pushes.
type remote struct {
	client *http.Client
	base   string // scheme and host
	path   string // of the repository
	auth   docker.Authorizer
	denied error // no credentials for what the registry wants
}

// dialRemote finds out how the registry of a reference wants to be spoken to.
func (s *Store) dialRemote(ctx context.Context, ref reference.Named, o engine.PullOptions) (*remote, error) {
	c := s.registryConfig()
	host := reference.Domain(ref)
	plain := o.Insecure || insecure(ctx, c, host)
	if host == dockerHub {
		host = dockerHubAPI
	}
	r := &remote{client: s.client(o, false), path: reference.Path(ref)}
	if plain {
		r.client = s.client(o, true)
	}
	r.auth = authorizer(r.client, host, o)
	schemes := []string{"https", "http"}
	if !plain {
		schemes = schemes[:1]
	}
	var err error
	for _, scheme := range schemes {
		r.base = scheme + "://" + host
		if err = r.ping(ctx); err == nil {
			return r, nil
		}
	}
	return nil, err
}

func (r *remote) context(ctx context.Context) context.Context {
	return docker.WithScope(ctx, "repository:"+r.path+":pull")
}

func (r *remote) ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Request.URL.Scheme == "http" {
		r.base = "http" + strings.TrimPrefix(r.base, "https")
	}
	if resp.StatusCode != http.StatusUnauthorized {
		return nil
	}
	if err := r.auth.AddResponses(r.context(ctx), []*http.Response{resp}); err != nil {
		r.denied = err
	}
	return nil
}

// get does one request and reads the bounded answer.
func (r *remote) get(ctx context.Context, method, path string, accept ...string) (*http.Response, []byte, error) {
	target := path
	if !strings.Contains(path, "://") {
		target = r.base + path
	}
	req, err := http.NewRequestWithContext(r.context(ctx), method, target, nil)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*http.Response, []byte, error) {
		return nil, nil, &url.Error{Op: method[:1] + strings.ToLower(method[1:]), URL: target, Err: err}
	}
	if r.denied != nil {
		if strings.Contains(r.denied.Error(), "no basic auth credentials") {
			return fail(errors.New("no basic auth credentials"))
		}
		return fail(r.denied)
	}
	for _, a := range accept {
		req.Header.Add("Accept", a)
	}
	if err := r.auth.Authorize(req.Context(), req); err != nil {
		return fail(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return fail(err)
	}
	if len(body) > maxManifest {
		return fail(fmt.Errorf("the answer is longer than %d bytes", maxManifest))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, statusError(resp, body)
	}
	return resp, body, nil
}

// statusError is the registry's own word where it has one.
func statusError(resp *http.Response, body []byte) error {
	err := fmt.Errorf("unexpected status from %s request to %s: %s", resp.Request.Method, resp.Request.URL, resp.Status)
	var list docker.Errors
	if json.Unmarshal(body, &list) == nil && len(list) > 0 {
		err = list
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		if resp.Request.Method == http.MethodHead {
			return errdefs.ErrNotFound.WithMessage("manifest unknown")
		}
		return errdefs.ErrNotFound.WithMessage(err.Error())
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated.WithMessage(err.Error())
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied.WithMessage(err.Error())
	}
	return err
}

// RemoteTags implements engine.Registries.
func (s *Store) RemoteTags(ctx context.Context, repository string, o engine.PullOptions) ([]string, error) {
	ctx = s.context(ctx)
	ref, err := reference.ParseNormalizedNamed(repository)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	r, err := s.dialRemote(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	var tags []string
	next := "/v2/" + r.path + "/tags/list"
	for range maxTagPages {
		resp, body, err := r.get(ctx, http.MethodGet, next)
		if err != nil {
			return nil, err
		}
		var page struct{ Tags []string }
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("list of tags: %w", err)
		}
		tags = append(tags, page.Tags...)
		link, rest, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		if !ok || !strings.Contains(rest, "next") {
			return tags, nil
		}
		u, err := resp.Request.URL.Parse(link)
		if err != nil || u.Host != resp.Request.URL.Host {
			return nil, fmt.Errorf("list of tags: the next page %q is not on the same registry", link)
		}
		next = u.String()
	}
	return nil, fmt.Errorf("list of tags: more than %d pages", maxTagPages)
}

var manifestTypes = []string{images.MediaTypeDockerSchema2Manifest, images.MediaTypeDockerSchema2ManifestList, imagespec.MediaTypeImageManifest, imagespec.MediaTypeImageIndex}

// RemoteManifest implements engine.Registries.
func (s *Store) RemoteManifest(ctx context.Context, name string, o engine.PullOptions) (d imagespec.Descriptor, manifest, config []byte, err error) {
	ctx = s.context(ctx)
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return d, nil, nil, fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	r, err := s.dialRemote(ctx, ref, o)
	if err != nil {
		return d, nil, nil, err
	}
	if c, ok := ref.(reference.Canonical); ok {
		d.Digest = c.Digest()
	} else {
		tag := reference.TagNameOnly(ref).(reference.Tagged).Tag()
		resp, _, err := r.get(ctx, http.MethodHead, "/v2/"+r.path+"/manifests/"+tag, manifestTypes...)
		if err != nil {
			return d, nil, nil, err
		}
		d.Digest = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		if d.Digest.Validate() != nil {
			_, body, err := r.get(ctx, http.MethodGet, "/v2/"+r.path+"/manifests/"+tag, manifestTypes...)
			if err != nil {
				return d, nil, nil, err
			}
			d.Digest = digest.FromBytes(body)
		}
	}
	resp, manifest, err := r.get(ctx, http.MethodGet, "/v2/"+r.path+"/manifests/"+d.Digest.String(), manifestTypes...)
	if err != nil {
		return d, nil, nil, err
	}
	if !verified(d.Digest, manifest) {
		return d, nil, nil, fmt.Errorf("manifest %s: %w", d.Digest, engine.ErrCorrupt)
	}
	d.Size, d.MediaType = int64(len(manifest)), resp.Header.Get("Content-Type")
	if d.MediaType != images.MediaTypeDockerSchema2Manifest && d.MediaType != imagespec.MediaTypeImageManifest {
		return d, manifest, nil, nil
	}
	var m imagespec.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return d, nil, nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	_, config, err = r.get(ctx, http.MethodGet, "/v2/"+r.path+"/blobs/"+m.Config.Digest.String())
	if err != nil {
		return d, nil, nil, err
	}
	if !verified(m.Config.Digest, config) {
		return d, nil, nil, fmt.Errorf("config %s: %w", m.Config.Digest, engine.ErrCorrupt)
	}
	return d, manifest, config, nil
}

func verified(d digest.Digest, b []byte) bool {
	return d.Validate() == nil && d.Algorithm().FromBytes(b) == d
}
