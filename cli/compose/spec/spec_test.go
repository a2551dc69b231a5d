package spec

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

func project() *types.Project {
	return &types.Project{
		Name:     "shop",
		Networks: types.Networks{"default": {Name: "shop_default"}},
		Configs:  types.Configs{"page": {Content: "one"}},
	}
}

func service() types.ServiceConfig {
	s := types.ServiceConfig{Name: "web"}
	s.Image = "web"
	s.Networks = map[string]*types.ServiceNetworkConfig{"default": {Ipv4Address: "10.1.0.9", Aliases: []string{"www"}, MacAddress: "02:42:0a:01:00:09"}}
	return s
}

// TestBesideTheService: the address that the file gives is the service's own
// container's, not that of one beside it.
func TestBesideTheService(t *testing.T) {
	for _, c := range []struct {
		Container
		address, names string
	}{
		{Container{Name: "shop-web-1", Number: 1}, "10.1.0.9", "shop-web-1 web www"},
		{Container{Name: "run", OneOff: true}, "10.1.0.9", "run"},
		{Container{Name: "run", OneOff: true, Beside: true}, "invalid IP", "run"},
		{Container{Name: "0123_shop-web-1", Replaces: "shop-web-1"}, "10.1.0.9", "shop-web-1 web www"},
	} {
		got, err := Endpoints(project(), service(), c.Container)
		if err != nil {
			t.Fatal(err)
		}
		e := got["shop_default"]
		address := "invalid IP"
		if e.IPAMConfig != nil {
			address = e.IPAMConfig.IPv4Address.String()
		}
		if names := strings.Join(e.Aliases, " "); address != c.address || names != c.names || (len(e.MacAddress) > 0) != (address != "invalid IP") {
			t.Errorf("%+v: address %s, names %s, %s", c.Container, address, names, e.MacAddress)
		}
	}
}

// TestHash: what a container does not depend on does not change it, and asking does
// not change the service.
func TestHash(t *testing.T) {
	hash := func(change func(*types.ServiceConfig)) string {
		s := service()
		change(&s)
		h, err := Hash(s)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	plain := hash(func(*types.ServiceConfig) {})
	three := 3
	for name, change := range map[string]func(*types.ServiceConfig){
		"build":      func(s *types.ServiceConfig) { s.Build = &types.BuildConfig{Context: "."} },
		"scale":      func(s *types.ServiceConfig) { s.Scale = &three },
		"profiles":   func(s *types.ServiceConfig) { s.Profiles = []string{"p"} },
		"depends_on": func(s *types.ServiceConfig) { s.DependsOn = types.DependsOnConfig{"db": {}} },
	} {
		if hash(change) != plain {
			t.Errorf("%s changes the hash", name)
		}
	}
	if hash(func(s *types.ServiceConfig) { s.Image = "other" }) == plain {
		t.Error("another image does not change the hash")
	}
	deploy := &types.DeployConfig{Replicas: &three}
	hash(func(s *types.ServiceConfig) { s.Deploy = deploy })
	if deploy.Replicas == nil {
		t.Error("the number of replicas is lost")
	}
	p, s := project(), service()
	if FilesHash(p, s) != "" {
		t.Error("a service without configs has a hash of files")
	}
	s.Configs = []types.ServiceConfigObjConfig{{Source: "page"}}
	one := FilesHash(p, s)
	p.Configs["page"] = types.ConfigObjConfig{Content: "two"}
	if one == "" || one == FilesHash(p, s) {
		t.Error("the content of a config does not change the hash of files")
	}
}
