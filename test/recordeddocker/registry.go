package recordeddocker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// registry is the empty distribution registry that a file asks for: it keeps
// everything in memory, wants the login user:secret for /v2/ and /v2/private/, and
// refuses any other login everywhere.
type registry struct {
	mu        sync.Mutex
	blobs     map[string][]byte // by digest
	uploads   map[string][]byte
	manifests map[string]manifest // by repository and "@digest" or ":tag"
	last      int
}

type manifest struct {
	mediaType string
	body      []byte
}

func newRegistry() *registry {
	return &registry{blobs: map[string][]byte{}, uploads: map[string][]byte{}, manifests: map[string]manifest{}}
}

var registryPath = regexp.MustCompile(`^/v2/(.+)/(blobs|manifests|tags)/(.*)$`)

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	user, password, sent := req.BasicAuth()
	closed := req.URL.Path == "/v2/" || strings.HasPrefix(req.URL.Path, "/v2/private/")
	if sent && (user != "user" || password != "secret") || !sent && (closed || req.Header.Get("Authorization") != "") {
		w.Header().Set("Www-Authenticate", `Basic realm="dockerdiff"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return
	}
	if req.URL.Path == "/v2/" {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
		return
	}
	m := registryPath.FindStringSubmatch(req.URL.Path)
	if m == nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error())
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m[2] {
	case "blobs":
		if rest, ok := strings.CutPrefix(m[3], "uploads/"); ok {
			r.upload(w, req, m[1], rest, body)
		} else {
			r.blob(w, req, m[3])
		}
	case "manifests":
		r.manifest(w, req, m[1], m[3], body)
	default:
		r.tags(w, m[1])
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (r *registry) blob(w http.ResponseWriter, req *http.Request, digest string) {
	b, ok := r.blobs[digest]
	if !ok {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	send(w, req, "application/octet-stream", digest, b)
}

func send(w http.ResponseWriter, req *http.Request, mediaType, digest string, b []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if req.Method != http.MethodHead {
		w.Write(b)
	}
}

func (r *registry) upload(w http.ResponseWriter, req *http.Request, repository, id string, body []byte) {
	if req.Method == http.MethodPost {
		if digest := req.URL.Query().Get("mount"); r.blobs[digest] != nil {
			created(w, "/v2/"+repository+"/blobs/"+digest, digest)
			return
		}
		r.last++
		id = strconv.Itoa(r.last)
		r.uploads[id] = nil
	}
	have, ok := r.uploads[id]
	if !ok {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	have = append(have, body...)
	r.uploads[id] = have
	digest := req.URL.Query().Get("digest")
	if digest == "" {
		w.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/"+id)
		w.Header().Set("Docker-Upload-Uuid", id)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(have)-1, 0)))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	delete(r.uploads, id)
	if digestOf(have) != digest {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
		return
	}
	r.blobs[digest] = have
	created(w, "/v2/"+repository+"/blobs/"+digest, digest)
}

func created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (r *registry) manifest(w http.ResponseWriter, req *http.Request, repository, reference string, body []byte) {
	key := repository + ":" + reference
	if strings.HasPrefix(reference, "sha256:") {
		key = repository + "@" + reference
	}
	if req.Method == http.MethodPut {
		m := manifest{req.Header.Get("Content-Type"), body}
		digest := digestOf(body)
		r.manifests[key] = m
		r.manifests[repository+"@"+digest] = m
		created(w, "/v2/"+repository+"/manifests/"+digest, digest)
		return
	}
	m, ok := r.manifests[key]
	if !ok {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	send(w, req, m.mediaType, digestOf(m.body), m.body)
}

func (r *registry) tags(w http.ResponseWriter, repository string) {
	tags := []string{}
	for key := range r.manifests {
		if tag, ok := strings.CutPrefix(key, repository+":"); ok {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	slices.Sort(tags)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"name": repository, "tags": tags})
}
