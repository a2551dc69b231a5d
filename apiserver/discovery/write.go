package discovery

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

const (
	mediaJSON  = "application/json"
	mediaYAML  = "application/yaml"
	mediaProto = "application/vnd.kubernetes.protobuf"
)

// negotiate picks the media type of a plain document; JSON is the default, "" is
// the answer to a client that takes none of ours.
func negotiate(accept []string) string {
	all := strings.TrimSpace(strings.Join(accept, ","))
	if all == "" {
		return mediaJSON
	}
	for _, clause := range strings.Split(all, ",") {
		media, params, err := mime.ParseMediaType(clause)
		if err != nil || params["as"] != "" {
			continue
		}
		switch media {
		case mediaJSON, mediaYAML, mediaProto:
			return media
		case "application/*", "*/*":
			return mediaJSON
		}
	}
	return ""
}

// write answers with the document of path, which make makes the first time, in the
// media type that the request prefers.
func (d *documents) write(w http.ResponseWriter, r *http.Request, path string, make func() runtime.Object) {
	media := negotiate(r.Header.Values("Accept"))
	if media == "" {
		http.Error(w, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf", http.StatusNotAcceptable)
		return
	}
	d.writeAs(w, r, path, media, make)
}

func (d *documents) writeAs(w http.ResponseWriter, r *http.Request, path, media string, make func() runtime.Object) {
	k := key{path, media}
	v, ok := d.cache.Load(k)
	if !ok {
		e, err := encode(make(), media)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		v, _ = d.cache.LoadOrStore(k, e)
	}
	e := v.(*encoded)
	h := w.Header()
	if strings.Contains(media, "as=") {
		h.Set("ETag", e.etag)
		h.Set("Vary", "Accept")
		h.Set("Cache-Control", "public")
		if r.Header.Get("If-None-Match") == e.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", media)
	h.Set("Content-Length", fmt.Sprint(len(e.body)))
	w.Write(e.body)
}

func encode(o runtime.Object, media string) (*encoded, error) {
	if media == mediaProto {
		body, err := encodeProto(o)
		return &encoded{body: body}, err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if media == mediaYAML {
		body, err = yaml.JSONToYAML(body)
		return &encoded{body: body}, err
	}
	return &encoded{body: append(body, '\n'), etag: fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(body)))}, nil
}

// encodeProto writes the envelope of Kubernetes' protobuf: a magic number and a
// runtime.Unknown with the object in it.
func encodeProto(o runtime.Object) ([]byte, error) {
	m, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, fmt.Errorf("discovery: %T has no protobuf form", o)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	gvk := o.GetObjectKind().GroupVersionKind()
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind}, Raw: raw}
	if u.APIVersion == "" {
		u.APIVersion = "v1"
	}
	body, err := u.Marshal()
	if err != nil {
		return nil, err
	}
	return append([]byte("k8s\x00"), body...), nil
}

func writeStatus(w http.ResponseWriter, _ *http.Request, code int, reason metav1.StatusReason, message string) {
	body, err := json.Marshal(&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: message, Details: &metav1.StatusDetails{}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(code)
	w.Write(append(body, '\n'))
}
