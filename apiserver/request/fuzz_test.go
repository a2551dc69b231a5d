package request

import (
	"net/url"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		method, path, query string
		want                Info
	}{
		{"GET", "/api/v1/pods", "", Info{IsResource: true, Verb: "list", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/pods", "watch=true", Info{IsResource: true, Verb: "watch", Version: "v1", Resource: "pods"}},
		{"GET", "/api/v1/namespaces/a", "", Info{IsResource: true, Verb: "get", Version: "v1", Namespace: "a", Resource: "namespaces", Name: "a"}},
		{"PUT", "/api/v1/namespaces/a/finalize", "", Info{IsResource: true, Verb: "update", Version: "v1", Namespace: "a", Resource: "namespaces", Name: "a", Sub: "finalize"}},
		{"PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale", "", Info{IsResource: true, Verb: "patch", Group: "apps", Version: "v1", Namespace: "a", Resource: "deployments", Name: "b", Sub: "scale"}},
		{"DELETE", "/apis/apps/v1/namespaces/a/deployments", "", Info{IsResource: true, Verb: "deletecollection", Group: "apps", Version: "v1", Namespace: "a", Resource: "deployments"}},
		{"GET", "/api/v1/namespaces/a/services/b/proxy/x/y/", "", Info{IsResource: true, Verb: "get", Version: "v1", Namespace: "a", Resource: "services", Name: "b", Sub: "proxy", Rest: "/x/y/"}},
		{"GET", "/api/v1/watch/namespaces/a/pods/b", "", Info{IsResource: true, Verb: "watch", Version: "v1", Namespace: "a", Resource: "pods", Name: "b", ForceWatch: true}},
		{"GET", "/apis/apps/v1", "", Info{Verb: "get"}},
		{"GET", "/healthz", "", Info{Verb: "get"}},
		{"GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dx", Info{IsResource: true, Verb: "list", Version: "v1", Resource: "pods", Name: "x", FieldSelector: "metadata.name=x"}},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		c.want.Path = c.path
		if got := Parse(c.method, c.path, q); got != c.want {
			t.Errorf("%s %s?%s:\n got %+v\nwant %+v", c.method, c.path, c.query, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("GET", "/api/v1/namespaces/a/pods/b/log", "watch=1")
	f.Add("FOO", "/apis//v1/watch/", "fieldSelector=metadata.name==..")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if in := Parse(method, path, q); !in.IsResource && (in.Resource != "" || in.Name != "" || in.Sub != "") {
			t.Errorf("%s %s is no resource and yet names one: %+v", method, path, in)
		}
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	f.Add("*/*;q=x, ;;")
	f.Fuzz(func(t *testing.T, accept string) {
		var a Accepted
		first, err := a.Negotiate(accept, Route{Watchable: true})
		again, err2 := a.Negotiate(accept, Route{Watchable: true})
		if (err == nil) != (err2 == nil) || first != again {
			t.Errorf("%q is read in two ways", accept)
		}
	})
}
