package stream

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"skiff.dev/skiff/kinds"
)

// remote answers pods/exec, pods/attach and pods/portforward.
func (s *Streams) remote(w http.ResponseWriter, r *http.Request, t *target, object kinds.Object) error {
	if err := s.mayCreate(r, t); err != nil {
		return err
	}
	p, err := pod(t, object)
	if err != nil {
		return err
	}
	in := params{q: r.URL.Query()}
	opened := wanted{in.flag("stdin"), in.flag("stdout"), in.flag("stderr"), in.flag("tty")}
	path, query := "/portForward/"+p.Namespace+"/"+p.Name, url.Values{}
	switch t.sub {
	case "exec", "attach":
		path, query, err = execPath(p, t.sub, in.text("container"), opened)
		if t.sub == "exec" {
			query["command"] = in.q["command"]
		}
	default:
		var ports []string
		for _, n := range in.numbers("ports") {
			ports = append(ports, strconv.Itoa(int(n)))
		}
		if len(ports) > 0 {
			query.Set("port", strings.Join(ports, ","))
		}
		err = in.err
	}
	if err != nil {
		return err
	}
	h, err := s.node(r.Context(), p)
	if err != nil {
		return err
	}
	switch {
	case t.sub != "portforward" && wsstream.IsWebSocketRequestWithStreamCloseProtocol(r):
		translate(w, r, h, path, query, opened)
		return nil
	case t.sub == "portforward" && wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		return tunnel(w, r, h, path, query)
	case !upgrade(r):
		return apierrors.NewBadRequest("Upgrade request required")
	}
	h.ServeHTTP(w, toNode(r, path, query))
	return nil
}

// wanted are the streams of a session.
type wanted struct {
	stdin, stdout, stderr, tty bool
}

// execPath is the node's path for a command or an attachment.
func execPath(p *v1.Pod, verb, name string, o wanted) (string, url.Values, error) {
	q := url.Values{}
	for k, set := range map[string]bool{"input": o.stdin, "output": o.stdout, "error": o.stderr, "tty": o.tty} {
		if set {
			q.Set(k, "1")
		}
	}
	name, err := container(p, name)
	return "/" + verb + "/" + p.Namespace + "/" + p.Name + "/" + name, q, err
}

// upgrade tells whether the client asks for another protocol.
func upgrade(r *http.Request) bool {
	for _, h := range r.Header.Values("Connection") {
		if strings.Contains(strings.ToLower(h), "upgrade") {
			return true
		}
	}
	return false
}
