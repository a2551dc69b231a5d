// Package stream answers the subresources that lead to a node or through it: log,
// exec, attach and portforward of pods, and the proxies of pods, services and
// nodes. It checks the request as Kubernetes does, translates it to the paths of
// the node's own API (the kubelet's) and hands it over; where a client speaks a
// protocol that nodes do not (WebSockets with half-closed streams, SPDY inside
// WebSockets), it translates. The API server has authenticated and authorized the
// request before; package node serves what comes out.
package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// Nodes finds the API of a node.
type Nodes interface {
	Handler(ctx context.Context, node string) (http.Handler, error)
}

// Reader looks at the server's cache.
type Reader interface {
	Object(gr schema.GroupResource, namespace, name string) (obj kinds.Object, ok bool)
}

// Streams answers stream and proxy requests.
type Streams struct {
	Nodes  Nodes
	Reader Reader
	// Authorizer is asked whether a user who opens a stream by GET, as WebSockets
	// do, may also create it; nil asks nobody.
	Authorizer auth.Authorizer
	// Transport reaches pods; nil is http.DefaultTransport.
	Transport http.RoundTripper
}

// target is what a request's path names.
type target struct {
	namespace, resource, name, sub string
	rest                           string // after the subresource, with its slash
	prefix                         string // before rest
}

// parse takes /api/v1/namespaces/NS/pods/NAME/SUB... or /api/v1/nodes/NAME/SUB...
// apart.
func parse(path string) (t target, ok bool) {
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok {
		return t, false
	}
	parts := 3
	if after, found := strings.CutPrefix(rest, "namespaces/"); found {
		t.namespace, rest, ok = strings.Cut(after, "/")
		if !ok || t.namespace == "" {
			return t, false
		}
	}
	list := strings.SplitN(rest, "/", parts)
	if len(list) < parts || list[0] == "" || list[1] == "" {
		return t, false
	}
	t.resource, t.name = list[0], list[1]
	t.sub, t.rest, ok = strings.Cut(list[2], "/")
	if ok {
		t.rest = "/" + t.rest
	}
	t.prefix = strings.TrimSuffix(path, t.rest)
	return t, t.sub != ""
}

// Serve answers one request. It has the form that the API server's table of
// subresources takes; object is the parent from the cache, nil when it does not
// exist or the name holds a port or a scheme.
func (s *Streams) Serve(w http.ResponseWriter, r *http.Request, _ *kinds.Kind, object kinds.Object, _ string) {
	t, ok := parse(r.URL.Path)
	if !ok {
		writeError(w, apierrors.NewBadRequest(fmt.Sprintf("not the path of a stream: %s", r.URL.Path)))
		return
	}
	var err error
	switch t.sub {
	case "log":
		err = s.log(w, r, &t, object)
	case "exec", "attach", "portforward":
		err = s.remote(w, r, &t, object)
	case "proxy":
		err = s.proxy(w, r, &t)
	default:
		err = apierrors.NewNotFound(schema.GroupResource{Resource: t.resource}, t.name)
	}
	if err != nil {
		writeError(w, err)
	}
}

// pod is the parent of a pod's stream.
func pod(t *target, object kinds.Object) (*v1.Pod, error) {
	p, ok := object.(*v1.Pod)
	if !ok || p == nil {
		return nil, apierrors.NewNotFound(v1.Resource("pods"), t.name)
	}
	return p, nil
}

// container resolves the container of a request.
func container(p *v1.Pod, name string) (string, error) {
	if name == "" {
		switch len(p.Spec.Containers) {
		case 0:
			return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", p.Name))
		case 1:
			return p.Spec.Containers[0].Name, nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", p.Name, containers(p)))
	}
	for _, c := range containers(p) {
		if c == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, p.Name))
}

func containers(p *v1.Pod) []string {
	var out []string
	for i := range p.Spec.InitContainers {
		out = append(out, p.Spec.InitContainers[i].Name)
	}
	for i := range p.Spec.Containers {
		out = append(out, p.Spec.Containers[i].Name)
	}
	for i := range p.Spec.EphemeralContainers {
		out = append(out, p.Spec.EphemeralContainers[i].Name)
	}
	return out
}

// node finds the API of the pod's node.
func (s *Streams) node(ctx context.Context, p *v1.Pod) (http.Handler, error) {
	if p.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", p.Name))
	}
	h, err := s.Nodes.Handler(ctx, p.Spec.NodeName)
	if err != nil {
		return nil, internal(err)
	}
	return h, nil
}

// internal makes an error an answer, unless it is one.
func internal(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// toNode is r as the node's API takes it.
func toNode(r *http.Request, path string, query url.Values) *http.Request {
	out := r.Clone(r.Context())
	out.URL = &url.URL{Path: path, RawQuery: query.Encode()}
	out.RequestURI = out.URL.RequestURI()
	return out
}

// mayCreate asks for the verb create where a stream was opened by GET: whoever may
// only read pods shall not run commands in them.
func (s *Streams) mayCreate(r *http.Request, t *target) error {
	if s.Authorizer == nil || r.Method != http.MethodGet {
		return nil
	}
	a := &auth.Attributes{User: auth.UserFrom(r.Context()), Verb: "create", Version: "v1", Namespace: t.namespace,
		Resource: t.resource, Subresource: t.sub, Name: t.name, IsResource: true}
	d, reason, err := s.Authorizer.Authorize(r.Context(), a)
	if err != nil {
		return internal(err)
	}
	if d != auth.Allow {
		return apierrors.NewForbidden(schema.GroupResource{Resource: t.resource}, t.name, errors.New(reason))
	}
	return nil
}

// writeError answers with a Status.
func writeError(w http.ResponseWriter, err error) {
	status := metav1.Status{}
	var known apierrors.APIStatus
	if errors.As(internal(err), &known) {
		status = known.Status()
	}
	status.Kind, status.APIVersion = "Status", "v1"
	body, err := json.Marshal(&status)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	w.Write(append(body, '\n'))
}
