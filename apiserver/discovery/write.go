package discovery

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/munnerz/goautoneg"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

const (
	mediaJSON  = "application/json"
	mediaYAML  = "application/yaml"
	mediaProto = "application/vnd.kubernetes.protobuf"
)

const mediaTypes = mediaJSON + ", " + mediaYAML + ", " + mediaProto

// negotiate picks the media type of a document by the client's preference, JSON
// where it has none; with root also that of the aggregated form. Without one
// that fits it is "", and refusal is the Status to answer.
func negotiate(accept []string, root bool) (media string, refusal *metav1.Status) {
	all := strings.TrimSpace(strings.Join(accept, ","))
	if all == "" {
		return mediaJSON, nil
	}
	routed := false
	for _, clause := range goautoneg.ParseAccept(all) {
		media := clause.Type + "/" + clause.SubType
		switch media {
		case mediaJSON, mediaYAML, mediaProto:
			routed = true
		case "*/*":
			routed, media = true, mediaJSON
		case "application/*":
			media = mediaJSON
		default:
			continue
		}
		p := clause.Params
		switch {
		case p["as"] == "" && p["g"] == "" && p["v"] == "":
			return media, nil
		case root && p["as"] == "APIGroupDiscoveryList" && p["g"] == apidiscoveryv2.GroupName && p["v"] == "v2":
			return media + aggregatedForm, nil
		}
	}
	refusal = &metav1.Status{Reason: metav1.StatusReasonNotAcceptable, Message: "only the following media types are accepted: " + mediaTypes}
	if !routed {
		refusal.Details, refusal.Message = &metav1.StatusDetails{}, "406: Not Acceptable\n\nAvailable representations: "+mediaTypes
	}
	return "", refusal
}

// write answers with the document of path, which make makes the first time, in the
// media type that the request prefers.
func (d *documents) write(w http.ResponseWriter, r *http.Request, path string, make func() runtime.Object) {
	media, refusal := negotiate(r.Header.Values("Accept"), false)
	if refusal != nil {
		refuse(w, http.StatusNotAcceptable, refusal)
		return
	}
	d.writeAs(w, r, path, media, make)
}

func (d *documents) writeAs(w http.ResponseWriter, r *http.Request, path, media string, make func() runtime.Object) {
	k := key{path, media}
	v, ok := d.cache.Load(k)
	if !ok {
		plain, _, _ := strings.Cut(media, ";")
		e, err := encode(make(), plain)
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
		return &encoded{body: body, etag: etagOf(body)}, err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if media == mediaYAML {
		body, err = yaml.JSONToYAML(body)
		return &encoded{body: body, etag: etagOf(body)}, err
	}
	return &encoded{body: append(body, '\n'), etag: etagOf(body)}, nil
}

func etagOf(body []byte) string { return fmt.Sprintf("\"%X\"", sha512.Sum512(body)) }

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
	refuse(w, code, &metav1.Status{Reason: reason, Message: message, Details: &metav1.StatusDetails{}})
}

// refuse answers with a failure.
func refuse(w http.ResponseWriter, code int, s *metav1.Status) {
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	s.Status, s.Code = metav1.StatusFailure, int32(code)
	body, err := json.Marshal(s)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(code)
	w.Write(append(body, '\n'))
}
