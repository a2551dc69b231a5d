package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxPage is the longest page of a list; a client that asks for more gets a link to
// the next.
const maxPage = 10000

// page cuts a sorted list as the parameters n and last say, and sets the link to
// what follows.
func page(w http.ResponseWriter, r *http.Request, all []string) ([]string, error) {
	q := r.URL.Query()
	n := maxPage
	if text := q.Get("n"); text != "" {
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 {
			return nil, &problem{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", fmt.Sprintf("invalid number %q", text)}
		}
		n = min(v, maxPage)
	}
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if len(all) <= n {
		return append([]string{}, all...), nil
	}
	all = append([]string{}, all[:n]...)
	if n > 0 {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}
		w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.Path, next.Encode()))
	}
	return all, nil
}

func (s *Server) tags(w http.ResponseWriter, r *request) error {
	s.mu.Lock()
	repo := s.repos[r.repo]
	var all []string
	if repo != nil {
		for t := range repo.tags {
			all = append(all, t)
		}
	}
	s.mu.Unlock()
	if repo == nil {
		return &problem{http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf("no repository %s", r.repo)}
	}
	slices.Sort(all)
	all, err := page(w, r.Request, all)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, map[string]any{"name": r.repo, "tags": all})
	return nil
}

func (s *Server) catalog(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	var all []string
	for n, repo := range s.repos {
		if len(repo.members) > 0 {
			all = append(all, n)
		}
	}
	s.mu.Unlock()
	slices.Sort(all)
	all, err := page(w, r, all)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, map[string]any{"repositories": all})
	return nil
}

func (s *Server) referrers(w http.ResponseWriter, r *request) error {
	d, err := parseDigest(r.last)
	if err != nil {
		return err
	}
	found := map[digest.Digest]member{}
	s.mu.Lock()
	if repo := s.repos[r.repo]; repo != nil {
		for at, m := range repo.members {
			if m.subject == d {
				found[at] = m
			}
		}
	}
	s.mu.Unlock()
	want, filtered := r.URL.Query().Get("artifactType"), r.URL.Query().Has("artifactType")
	index := imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex, Manifests: []imagespec.Descriptor{}}
	for at, m := range found {
		b, err := content.ReadBlob(r.Context(), s.o.Shelf.Content(), imagespec.Descriptor{Digest: at, Size: m.size})
		if errdefs.IsNotFound(err) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return err
		}
		doc, err := decode(b)
		if err != nil {
			return err
		}
		if kind := doc.artifactType(); !filtered || kind == want {
			index.Manifests = append(index.Manifests, imagespec.Descriptor{MediaType: m.media, Digest: at, Size: m.size, ArtifactType: kind, Annotations: doc.Annotations})
		}
	}
	slices.SortFunc(index.Manifests, func(a, b imagespec.Descriptor) int {
		if a.Digest < b.Digest {
			return -1
		}
		return 1
	})
	if filtered {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", imagespec.MediaTypeImageIndex)
	s.body(w, http.StatusOK, index)
	return nil
}
