package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxManifest bounds a manifest.
const maxManifest = 4 << 20

// document is the part of manifests and indexes that the registry looks at.
type document struct {
	MediaType    string                 `json:"mediaType"`
	ArtifactType string                 `json:"artifactType"`
	Config       *imagespec.Descriptor  `json:"config"`
	Layers       []imagespec.Descriptor `json:"layers"`
	Manifests    []imagespec.Descriptor `json:"manifests"`
	Subject      *imagespec.Descriptor  `json:"subject"`
	Annotations  map[string]string      `json:"annotations"`
}

func decode(b []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, &problem{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest is no JSON object: " + err.Error()}
	}
	for _, c := range d.children() {
		if err := c.Digest.Validate(); err != nil {
			return nil, &problem{http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("digest %q: %v", c.Digest, err)}
		}
	}
	if d.Subject != nil && d.Subject.Digest.Validate() != nil {
		return nil, &problem{http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("subject's digest %q is invalid", d.Subject.Digest)}
	}
	return &d, nil
}

// children are what must be in the repository before the manifest.
func (d *document) children() []imagespec.Descriptor {
	var out []imagespec.Descriptor
	if d.Config != nil {
		out = append(out, *d.Config)
	}
	for _, l := range d.Layers {
		if !strings.Contains(l.MediaType, "nondistributable") && !strings.Contains(l.MediaType, "foreign") {
			out = append(out, l)
		}
	}
	return append(out, d.Manifests...)
}

// artifactType is what referrers are filtered by.
func (d *document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return d.Config.MediaType
	}
	return d.ArtifactType
}

// lookup finds the digest that a tag or digest means.
func (s *Server) lookup(r *request) (digest.Digest, member, error) {
	unknown := &problem{http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("manifest %s is not in the repository", r.last)}
	var d digest.Digest
	if strings.Contains(r.last, ":") {
		var err error
		if d, err = parseDigest(r.last); err != nil {
			return "", member{}, err
		}
	} else if !tagPattern.MatchString(r.last) {
		return "", member{}, unknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repos[r.repo]
	if repo == nil {
		return "", member{}, unknown
	}
	if d == "" {
		d = repo.tags[r.last]
	}
	m, ok := repo.members[d]
	if !ok || m.media == "" {
		return "", member{}, unknown
	}
	return d, m, nil
}

func (s *Server) manifest(w http.ResponseWriter, r *request) error {
	d, m, err := s.lookup(r)
	if err != nil {
		return err
	}
	b, err := content.ReadBlob(r.Context(), s.o.Shelf.Content(), imagespec.Descriptor{Digest: d, Size: m.size})
	if err != nil {
		return err
	}
	if d.Algorithm().FromBytes(b) != d {
		return fmt.Errorf("manifest %s is damaged on the disk", d)
	}
	h := w.Header()
	h.Set("Content-Type", m.media)
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(b))
	return nil
}

func (s *Server) putManifest(w http.ResponseWriter, r *request) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		return err
	}
	d, tags := digest.FromBytes(b), r.URL.Query()["tag"]
	if strings.Contains(r.last, ":") {
		if d, err = parseDigest(r.last); err != nil {
			return err
		}
		if d.Algorithm().FromBytes(b) != d {
			return &problem{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the manifest is not that of %s", d)}
		}
	} else {
		tags = []string{r.last}
	}
	for _, t := range tags {
		if !tagPattern.MatchString(t) {
			return &problem{http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("invalid tag %q", t)}
		}
	}
	doc, err := decode(b)
	if err != nil {
		return err
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		if media = doc.MediaType; media == "" {
			media = imagespec.MediaTypeImageManifest
		}
	}
	if doc.MediaType != "" && doc.MediaType != media {
		return &problem{http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("the manifest says %q, the request %q", doc.MediaType, media)}
	}
	for _, c := range doc.children() {
		if _, ok := s.has(r.repo, c.Digest); !ok {
			return &problem{http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("%s, to which the manifest refers, is not in the repository", c.Digest)}
		}
	}
	if err := s.storeManifest(r.Context(), r.repo, d, media, doc, b); err != nil {
		return err
	}
	for _, t := range tags {
		if err := s.setTag(r.Context(), r.repo, t, imagespec.Descriptor{MediaType: media, Digest: d, Size: int64(len(b))}); err != nil {
			return err
		}
		if strings.Contains(r.last, ":") {
			w.Header().Add("OCI-Tag", t)
		}
	}
	if doc.Subject != nil {
		w.Header().Set("OCI-Subject", doc.Subject.Digest.String())
	}
	w.Header().Set("Location", "/v2/"+r.repo+"/manifests/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) storeManifest(ctx context.Context, repo string, d digest.Digest, media string, doc *document, b []byte) error {
	if err := s.hold(ctx, repo, d); err != nil {
		return err
	}
	defer s.o.Shelf.Hold()()
	labels := map[string]string{labelMedia: media}
	fields := []string{"labels." + labelMedia}
	if doc.Subject != nil {
		labels[labelSubject] = doc.Subject.Digest.String()
		fields = append(fields, "labels."+labelSubject)
	}
	store := s.o.Shelf.Content()
	err := content.WriteBlob(ctx, store, "manifest-"+repo+"-"+d.String(), bytes.NewReader(b), imagespec.Descriptor{Digest: d, Size: int64(len(b))}, content.WithLabels(labels))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	if _, err := store.Update(ctx, content.Info{Digest: d, Labels: labels}, fields...); err != nil {
		return err
	}
	return s.add(ctx, repo, d)
}

func (s *Server) deleteManifest(w http.ResponseWriter, r *request) error {
	d, _, err := s.lookup(r)
	if err != nil {
		return err
	}
	if strings.Contains(r.last, ":") {
		err = s.drop(r.Context(), r.repo, d)
	} else {
		err = s.dropTag(r.Context(), r.repo, r.last)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Server) dropTag(ctx context.Context, repo, tag string) error {
	if err := gone(s.o.Shelf.Names().Delete(ctx, repo+":"+tag)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repos[repo].tags, tag)
	return nil
}
