// Package request reads what a URL asks for: a verb on a resource, or a path
// (endpoints/request, RequestInfo). It knows no kinds.
package request

import (
	"net/url"
	"strings"
)

// Info is what a request asks for.
type Info struct {
	IsResource bool
	Path       string
	Verb       string // get, list, ...; for paths that are no resources the lower-case method

	Group, Version string
	Namespace      string
	Resource       string
	Sub            string
	Name           string
	// Rest is the path behind the subresource, with a leading slash, for proxies.
	Rest string
	// ForceWatch is true for the old form /api/v1/watch/...
	ForceWatch bool
	// BadSpecial is true for /api/v1/watch and the like with nothing behind it.
	BadSpecial bool

	FieldSelector, LabelSelector string
}

// Parse reads a method, a decoded path and a query.
func Parse(method, path string, query url.Values) Info {
	in := Info{Path: path, Verb: strings.ToLower(method)}
	parts := split(path)
	if len(parts) < 3 {
		return in
	}
	switch parts[0] {
	case "api":
		parts = parts[1:]
	case "apis":
		if len(parts) < 4 {
			return in
		}
		in.Group = parts[1]
		parts = parts[2:]
	default:
		return in
	}
	in.IsResource = true
	in.Version = parts[0]
	parts = parts[1:]
	special := parts[0] == "watch" || parts[0] == "proxy"
	if special {
		if len(parts) < 2 {
			in.BadSpecial = true
			return in
		}
		in.Verb = parts[0]
		in.ForceWatch = parts[0] == "watch"
		parts = parts[1:]
	} else {
		in.Verb = verbOf(method)
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		in.Namespace = parts[1]
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	in.Resource = parts[0]
	if len(parts) >= 2 {
		in.Name = parts[1]
	}
	if len(parts) >= 3 && in.Verb != "proxy" {
		in.Sub = parts[2]
		if len(parts) > 3 {
			in.Rest = "/" + strings.Join(parts[3:], "/")
		}
		if strings.HasSuffix(path, "/") {
			in.Rest += "/"
		}
	}
	in.collection(query, special)
	return in
}

// collection tells the verbs of one object from those of many.
func (in *Info) collection(query url.Values, special bool) {
	if in.Name == "" {
		switch in.Verb {
		case "get":
			in.Verb = "list"
			if truthy(query, "watch") {
				in.Verb = "watch"
			}
			in.Name = nameSelected(query.Get("fieldSelector"))
		case "delete":
			in.Verb = "deletecollection"
		}
	}
	if !special && (in.Verb == "list" || in.Verb == "watch" || in.Verb == "deletecollection") {
		in.FieldSelector, in.LabelSelector = query.Get("fieldSelector"), query.Get("labelSelector")
	}
}

// nameSelected is the name that a field selector asks for, if it asks for one.
func nameSelected(selector string) string {
	if selector == "" {
		return ""
	}
	for _, term := range strings.Split(selector, ",") {
		for _, op := range []string{"metadata.name==", "metadata.name="} {
			if name, ok := strings.CutPrefix(term, op); ok {
				if name == "." || name == ".." || strings.ContainsAny(name, "/%") {
					return ""
				}
				return name
			}
		}
	}
	return ""
}

func truthy(query url.Values, name string) bool {
	v, ok := query[name]
	if !ok || len(v) == 0 {
		return false
	}
	switch strings.ToLower(v[0]) {
	case "false", "0":
		return false
	}
	return true
}

func verbOf(method string) string {
	switch method {
	case "POST":
		return "create"
	case "GET", "HEAD":
		return "get"
	case "PUT":
		return "update"
	case "PATCH":
		return "patch"
	case "DELETE":
		return "delete"
	}
	return ""
}

func split(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}
