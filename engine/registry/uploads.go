package registry

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxUploads bounds the uploads that are under way; reserve is what an upload leaves
// of the disk.
const (
	maxUploads = 256
	reserve    = 64 << 20
)

// upload is a blob that is coming in.
type upload struct {
	id, repo string
	done     func() // of Shelf.Hold

	mu     sync.Mutex
	w      content.Writer // nil when it has ended
	size   int64
	active time.Time
}

func (s *Server) open(ctx context.Context, repo string) (*upload, error) {
	s.mu.Lock()
	n := len(s.uploads)
	s.mu.Unlock()
	if n >= maxUploads {
		return nil, &problem{http.StatusTooManyRequests, "TOOMANYREQUESTS", fmt.Sprintf("%d uploads are under way, the limit", n)}
	}
	u := &upload{id: strings.ToLower(rand.Text()), repo: repo, active: time.Now(), done: s.o.Shelf.Hold()}
	w, err := s.o.Shelf.Content().Writer(context.WithoutCancel(ctx), content.WithRef("upload-"+u.id))
	if err != nil {
		u.done()
		return nil, err
	}
	u.w = w
	s.mu.Lock()
	s.uploads[u.id] = u
	s.mu.Unlock()
	return u, nil
}

// end forgets what has come in.
func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.close()
}

func (u *upload) close() {
	if u.w != nil {
		u.w.Close()
		u.w = nil
		u.done()
	}
}

func (s *Server) forget(u *upload) {
	s.mu.Lock()
	delete(s.uploads, u.id)
	s.mu.Unlock()
	u.end()
}

func (s *Server) find(r *request) (*upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[r.last]
	if u == nil || u.repo != r.repo {
		return nil, &problem{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload"}
	}
	return u, nil
}

// tell sets where the upload goes on.
func (u *upload) tell(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Location", "/v2/"+u.repo+"/blobs/uploads/"+u.id)
	h.Set("Docker-Upload-UUID", u.id)
	h.Set("Range", "0-"+strconv.FormatInt(max(u.size-1, 0), 10))
}

func (s *Server) begin(w http.ResponseWriter, r *request) error {
	if r.last != "" {
		return &problem{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
	}
	q := r.URL.Query()
	if text := q.Get("mount"); text != "" {
		d, err := parseDigest(text)
		if err != nil {
			return err
		}
		from := q.Get("from")
		_, ok := s.has(from, d)
		if ok || from == "" && s.anywhere(d) {
			if err := s.hold(r.Context(), r.repo, d); err != nil {
				return err
			}
			if err := s.add(r.Context(), r.repo, d); err != nil {
				return err
			}
			s.created(w, r.repo, d)
			return nil
		}
	}
	text := q.Get("digest")
	var d digest.Digest
	if text != "" {
		var err error
		if d, err = parseDigest(text); err != nil {
			return err
		}
	}
	u, err := s.open(r.Context(), r.repo)
	if err != nil {
		return err
	}
	if text == "" {
		u.tell(w)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return s.complete(w, r, u, d)
}

func (s *Server) created(w http.ResponseWriter, repo string, d digest.Digest) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}

// take appends the request's body; u.mu is held. A body that does not begin where
// the upload ends changes nothing.
func (s *Server) take(w http.ResponseWriter, r *request, u *upload) error {
	if u.w == nil {
		return &problem{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload"}
	}
	u.active = time.Now()
	if text := r.Header.Get("Content-Range"); text != "" {
		start, end, err := parseRange(text)
		if err != nil {
			return err
		}
		if start != u.size || r.ContentLength >= 0 && end-start+1 != r.ContentLength {
			u.tell(w)
			return &problem{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", fmt.Sprintf("the range %s does not follow the %d bytes that are there", text, u.size)}
		}
	}
	free, err := s.o.Shelf.Free()
	if err != nil {
		return err
	}
	n, err := io.Copy(u.w, http.MaxBytesReader(w, r.Body, max(free-reserve, 0)))
	u.size += n
	u.active = time.Now()
	return err
}

func parseRange(text string) (start, end int64, err error) {
	a, b, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	start, aerr := strconv.ParseInt(a, 10, 64)
	end, berr := strconv.ParseInt(b, 10, 64)
	if !ok || aerr != nil || berr != nil || start < 0 || end < start {
		return 0, 0, &problem{http.StatusBadRequest, "BLOB_UPLOAD_INVALID", fmt.Sprintf("invalid range %q", text)}
	}
	return start, end, nil
}

func (s *Server) patch(w http.ResponseWriter, r *request) error {
	u, err := s.find(r)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := s.take(w, r, u); err != nil {
		return err
	}
	u.tell(w)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Server) progress(w http.ResponseWriter, r *request) error {
	u, err := s.find(r)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.active = time.Now()
	u.tell(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) cancel(w http.ResponseWriter, r *request) error {
	u, err := s.find(r)
	if err != nil {
		return err
	}
	s.forget(u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) finish(w http.ResponseWriter, r *request) error {
	u, err := s.find(r)
	if err != nil {
		return err
	}
	d, err := parseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	return s.complete(w, r, u, d)
}

// complete takes the last of an upload and makes a blob of it. What is not what the
// digest says is forgotten.
func (s *Server) complete(w http.ResponseWriter, r *request, u *upload, d digest.Digest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := s.take(w, r, u); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.uploads, u.id)
	s.mu.Unlock()
	defer u.close()
	if err := s.keep(r.Context(), u, d); err != nil {
		return err
	}
	s.created(w, u.repo, d)
	return nil
}

func (s *Server) keep(ctx context.Context, u *upload, d digest.Digest) error {
	if err := s.hold(ctx, u.repo, d); err != nil {
		return err
	}
	err := u.w.Commit(ctx, u.size, d)
	if err == nil || errdefs.IsAlreadyExists(err) {
		return s.add(ctx, u.repo, d)
	}
	if _, ok := s.has(u.repo, d); !ok {
		if derr := gone(s.o.Shelf.Leases().DeleteResource(ctx, leaseOf(u.repo), resourceOf(d))); derr != nil {
			return derr
		}
	}
	if errdefs.IsFailedPrecondition(err) {
		return &problem{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the content is not that of %s", d)}
	}
	return err
}

// upkeep forgets what nobody goes on with.
func (s *Server) upkeep(ctx context.Context) {
	t := time.NewTicker(min(s.o.Idle, s.o.Unused) / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.expire(time.Now())
		if err := s.sweep(s.o.Shelf.Context(ctx), time.Now()); err != nil {
			s.o.Log.Warn("blobs without a manifest stay", "err", err)
		}
	}
}

func (s *Server) expire(now time.Time) {
	s.mu.Lock()
	var all []*upload
	for _, u := range s.uploads {
		all = append(all, u)
	}
	s.mu.Unlock()
	for _, u := range all {
		if !u.mu.TryLock() {
			continue // something comes in right now
		}
		old := now.Sub(u.active) > s.o.Idle
		u.mu.Unlock()
		if old {
			s.forget(u)
		}
	}
}

// sweep drops blobs to which no manifest of their repository refers.
func (s *Server) sweep(ctx context.Context, now time.Time) error {
	type lost struct {
		repo string
		d    digest.Digest
	}
	var all []lost
	s.mu.Lock()
	names := make([]string, 0, len(s.repos))
	for n := range s.repos {
		names = append(names, n)
	}
	s.mu.Unlock()
	for _, n := range names {
		blobs, used, err := s.references(ctx, n)
		if err != nil {
			return err
		}
		for d, m := range blobs {
			if !used[d] && now.Sub(m.since) > s.o.Unused {
				all = append(all, lost{n, d})
			}
		}
	}
	for _, l := range all {
		if err := s.drop(ctx, l.repo, l.d); err != nil {
			return err
		}
	}
	return nil
}

// references are the blobs of a repository and what its manifests refer to.
func (s *Server) references(ctx context.Context, name string) (blobs map[digest.Digest]member, used map[digest.Digest]bool, err error) {
	blobs, used = map[digest.Digest]member{}, map[digest.Digest]bool{}
	manifests := map[digest.Digest]member{}
	s.mu.Lock()
	for d, m := range s.repos[name].members {
		if m.media == "" {
			blobs[d] = m
		} else {
			manifests[d] = m
		}
	}
	s.mu.Unlock()
	for d, m := range manifests {
		b, err := content.ReadBlob(ctx, s.o.Shelf.Content(), imagespec.Descriptor{Digest: d, Size: m.size})
		if errdefs.IsNotFound(err) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return nil, nil, err
		}
		doc, err := decode(b)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range doc.children() {
			used[c.Digest] = true
		}
	}
	return blobs, used, nil
}
