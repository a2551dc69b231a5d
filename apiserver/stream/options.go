package stream

import (
	"net/url"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion/queryparams"
	"k8s.io/apimachinery/pkg/runtime"
)

// Options are what a request for a stream asks for, as the object that admission
// judges; nil where kind is none of them. rest is the path after the subresource. A
// parameter that cannot be read counts as absent: Serve complains of it.
func Options(kind string, query url.Values, rest string) runtime.Object {
	p := params{q: query}
	switch kind {
	case "PodExecOptions":
		return &v1.PodExecOptions{Stdin: p.flag("stdin"), Stdout: p.flag("stdout"), Stderr: p.flag("stderr"), TTY: p.flag("tty"),
			Container: p.text("container"), Command: query["command"]}
	case "PodAttachOptions":
		return &v1.PodAttachOptions{Stdin: p.flag("stdin"), Stdout: p.flag("stdout"), Stderr: p.flag("stderr"), TTY: p.flag("tty"),
			Container: p.text("container")}
	case "PodPortForwardOptions":
		return &v1.PodPortForwardOptions{Ports: p.numbers("ports")}
	case "PodProxyOptions":
		return &v1.PodProxyOptions{Path: rest}
	case "ServiceProxyOptions":
		return &v1.ServiceProxyOptions{Path: rest}
	case "NodeProxyOptions":
		return &v1.NodeProxyOptions{Path: rest}
	}
	return nil
}

// Query is the query that asks for o, an object that Options made; ok is false where
// the query is the client's own, because it belongs to what is behind a proxy.
func Query(o runtime.Object) (query url.Values, ok bool) {
	switch o.(type) {
	case *v1.PodExecOptions, *v1.PodAttachOptions, *v1.PodPortForwardOptions:
	default:
		return nil, false
	}
	query, err := queryparams.Convert(o)
	return query, err == nil
}
