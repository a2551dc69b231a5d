package node

import (
	"net/url"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func FuzzParseLogQuery(f *testing.F) {
	for _, s := range []string{"", "follow", "follow=1&previous=false", "sinceSeconds=5", "tailLines=-1", "limitBytes=0", "sinceTime=2026-01-01T00:00:00Z", "stream=All", "tailLines=all"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		got, err := parseLogQuery(q)
		if err != nil {
			return
		}
		o := got.options(time.Unix(1e9, 0))
		if o.Tail != nil && *o.Tail < 0 || o.LimitBytes != nil && *o.LimitBytes <= 0 {
			t.Errorf("%q: %+v", raw, o)
		}
	})
}

func FuzzRegistryAuth(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`), "docker.io")
	f.Add([]byte(`{"auths":{"r:5000":{"username":"u","password":"p"}}}`), "r:5000")
	f.Fuzz(func(t *testing.T, data []byte, host string) {
		registryAuth(&v1.Secret{Data: map[string][]byte{v1.DockerConfigJsonKey: data}}, host)
	})
}

func TestRegistryAuth(t *testing.T) {
	s := &v1.Secret{Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`)}}
	if u, p, ok := registryAuth(s, "docker.io"); u != "u" || p != "p" || !ok {
		t.Errorf("%q %q %v", u, p, ok)
	}
	if _, _, ok := registryAuth(s, "other"); ok {
		t.Error("credentials for another host")
	}
}
