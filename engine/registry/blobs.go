package registry

import (
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

func parseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil {
		return "", errDigest(text)
	}
	return d, nil
}

func (s *Server) blob(w http.ResponseWriter, r *request) error {
	d, err := parseDigest(r.last)
	if err != nil {
		return err
	}
	if _, ok := s.has(r.repo, d); !ok {
		return errBlob(d)
	}
	f, err := s.o.Shelf.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "max-age=31536000")
	http.ServeContent(w, r.Request, "", time.Time{}, f) // ranges and HEAD too
	return nil
}

func (s *Server) deleteBlob(w http.ResponseWriter, r *request) error {
	d, err := parseDigest(r.last)
	if err != nil {
		return err
	}
	if m, ok := s.has(r.repo, d); !ok || m.media != "" {
		return errBlob(d)
	}
	if err := s.drop(r.Context(), r.repo, d); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
