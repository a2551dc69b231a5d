package stream

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
)

// proxy answers the proxies of pods, services and nodes.
func (s *Streams) proxy(w http.ResponseWriter, r *http.Request, t *target) error {
	var to *url.URL
	var err error
	switch t.resource {
	case "nodes":
		return s.proxyNode(w, r, t)
	case "pods":
		to, err = s.podURL(t)
	case "services":
		to, err = s.serviceURL(t)
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("%s have no proxy", t.resource))
	}
	if err != nil {
		return err
	}
	to.Path = t.rest
	if p := r.URL.Query().Get("path"); t.rest == "" && p != "" {
		to.Path = "/" + strings.TrimPrefix(p, "/")
	}
	rt := s.Transport
	if rt == nil {
		rt = http.DefaultTransport
	}
	proxy.NewUpgradeAwareHandler(to, rt, true, false, responder{}).ServeHTTP(w, r)
	return nil
}

// responder answers what goes wrong on the way to a pod.
type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	writeError(w, apierrors.NewServiceUnavailable("error trying to reach service: "+err.Error()))
}

// proxyNode hands a request over to the node's own API.
func (s *Streams) proxyNode(w http.ResponseWriter, r *http.Request, t *target) error {
	_, name, port, ok := utilnet.SplitSchemeNamePort(t.name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", t.name))
	}
	obj, found := s.Reader.Object(v1.Resource("nodes"), "", name)
	node, isNode := obj.(*v1.Node)
	if !found || !isNode {
		return apierrors.NewNotFound(v1.Resource("nodes"), name)
	}
	if own := node.Status.DaemonEndpoints.KubeletEndpoint.Port; port != "" && port != strconv.Itoa(int(own)) {
		return s.proxyAddress(w, r, t, node, port)
	}
	h, err := s.Nodes.Handler(r.Context(), name)
	if err != nil {
		return internal(err)
	}
	path := t.rest
	if path == "" {
		path = "/"
	}
	q := r.URL.Query()
	h.ServeHTTP(w, toNode(r, path, q))
	return nil
}

// proxyAddress reaches another port of a node.
func (s *Streams) proxyAddress(w http.ResponseWriter, r *http.Request, t *target, node *v1.Node, port string) error {
	scheme, _, _, _ := utilnet.SplitSchemeNamePort(t.name)
	for _, a := range node.Status.Addresses {
		ip := net.ParseIP(a.Address)
		if a.Type != v1.NodeInternalIP || ip == nil {
			continue
		}
		if !ip.IsGlobalUnicast() {
			break
		}
		rt := s.Transport
		if rt == nil {
			rt = http.DefaultTransport
		}
		to := &url.URL{Scheme: scheme, Host: net.JoinHostPort(a.Address, port), Path: t.rest}
		proxy.NewUpgradeAwareHandler(to, rt, true, false, responder{}).ServeHTTP(w, r)
		return nil
	}
	return apierrors.NewBadRequest("address not allowed")
}

// podURL is where "NAME", "NAME:PORT" or "SCHEME:NAME:PORT" answers; the first port
// of its containers without one.
func (s *Streams) podURL(t *target) (*url.URL, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(t.name)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", t.name))
	}
	obj, found := s.Reader.Object(v1.Resource("pods"), t.namespace, name)
	p, isPod := obj.(*v1.Pod)
	if !found || !isPod {
		return nil, apierrors.NewNotFound(v1.Resource("pods"), name)
	}
	for i := 0; port == "" && i < len(p.Spec.Containers); i++ {
		if ports := p.Spec.Containers[i].Ports; len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	ip := ""
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	if a := net.ParseIP(ip); a == nil || !a.IsGlobalUnicast() {
		return nil, apierrors.NewBadRequest("address not allowed")
	}
	u := &url.URL{Scheme: scheme, Host: ip}
	switch {
	case port != "":
		u.Host = net.JoinHostPort(ip, port)
	case strings.Contains(ip, ":"):
		u.Host = "[" + ip + "]"
	}
	return u, nil
}

// serviceURL picks one ready pod behind a service.
func (s *Streams) serviceURL(t *target) (*url.URL, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(t.name)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", t.name))
	}
	obj, found := s.Reader.Object(v1.Resource("services"), t.namespace, name)
	svc, isService := obj.(*v1.Service)
	if !found || !isService {
		return nil, apierrors.NewNotFound(v1.Resource("services"), name)
	}
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		i := slices.IndexFunc(svc.Spec.Ports, func(p v1.ServicePort) bool { return int64(p.Port) == number })
		if i < 0 {
			return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
		}
		port = svc.Spec.Ports[i].Name
	}
	obj, found = s.Reader.Object(v1.Resource("endpoints"), t.namespace, name)
	//lint:ignore SA1019 Kubernetes' own proxy reads the old kind
	eps, isEndpoints := obj.(*v1.Endpoints)
	if !found || !isEndpoints {
		return nil, apierrors.NewNotFound(v1.Resource("services"), name)
	}
	if len(eps.Subsets) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	var hosts []string
	for i := range eps.Subsets {
		set := &eps.Subsets[i]
		for _, p := range set.Ports {
			if p.Name != port {
				continue
			}
			for j := range set.Addresses {
				if s.isPod(t.namespace, &set.Addresses[j]) {
					hosts = append(hosts, net.JoinHostPort(set.Addresses[j].IP, strconv.Itoa(int(p.Port))))
				}
			}
		}
	}
	if len(hosts) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", t.name))
	}
	return &url.URL{Scheme: scheme, Host: hosts[rand.IntN(len(hosts))]}, nil
}

// isPod keeps the server from being led to addresses that are no pod's: whoever
// writes endpoints could reach its own network through it.
func (s *Streams) isPod(namespace string, a *v1.EndpointAddress) bool {
	if a.TargetRef == nil || (a.TargetRef.Namespace != "" && a.TargetRef.Namespace != namespace) {
		return false
	}
	obj, ok := s.Reader.Object(v1.Resource("pods"), namespace, a.TargetRef.Name)
	p, isPod := obj.(*v1.Pod)
	if !ok || !isPod {
		return false
	}
	return slices.ContainsFunc(p.Status.PodIPs, func(ip v1.PodIP) bool { return ip.IP == a.IP })
}
