// Package atrest says which kinds' values the store holds sealed, and how: secrets
// by the cluster's own keys, or what a file of Kubernetes' EncryptionConfiguration
// asks for. It knows the API server's keys (package cache) and makes policies for
// store/sealed.
package atrest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/sealed"
)

// secrets begins the keys of all secrets.
var secrets = cache.Root + cache.GroupDir("") + "/secrets/"

// Default seals secrets by ring.
func Default(ring *sealed.Ring) sealed.Policy {
	return func(key string) sealed.Cipher {
		if strings.HasPrefix(key, secrets) {
			return ring
		}
		return nil
	}
}

// Ranges are the keys whose values Default seals.
func Ranges() [][2]string { return [][2]string{{secrets, store.PrefixEnd(secrets)}} }

// configuration is the file's form (apiserver.config.k8s.io/v1,
// EncryptionConfiguration).
type configuration struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Resources  []entry `json:"resources"`
}

type entry struct {
	Resources []string   `json:"resources"`
	Providers []provider `json:"providers"`
}

type provider struct {
	AESGCM    *keys     `json:"aesgcm"`
	AESCBC    *keys     `json:"aescbc"`
	Secretbox *keys     `json:"secretbox"`
	Identity  *struct{} `json:"identity"`
	KMS       any       `json:"kms"`
}

type keys struct {
	Keys []struct {
		Name   string `json:"name"`
		Secret string `json:"secret"`
	} `json:"keys"`
}

// FromConfiguration reads an EncryptionConfiguration: it alone says what is sealed.
// ring still opens what the cluster's own keys have sealed before.
func FromConfiguration(raw []byte, ring *sealed.Ring) (sealed.Policy, error) {
	var c configuration
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return nil, err
	}
	if c.Kind != "EncryptionConfiguration" || c.APIVersion != "apiserver.config.k8s.io/v1" {
		return nil, fmt.Errorf("it is %s of %s, not EncryptionConfiguration of apiserver.config.k8s.io/v1", c.Kind, c.APIVersion)
	}
	if len(c.Resources) == 0 {
		return nil, errors.New("resources is empty")
	}
	r := rules{exact: map[string]sealed.Cipher{}, groups: map[string]sealed.Cipher{}}
	for i, e := range c.Resources {
		chain, err := chainOf(e.Providers, ring)
		if err != nil {
			return nil, fmt.Errorf("resources[%d].%w", i, err)
		}
		if len(e.Resources) == 0 {
			return nil, fmt.Errorf("resources[%d].resources is empty", i)
		}
		for _, name := range e.Resources {
			if err := r.add(name, chain); err != nil {
				return nil, fmt.Errorf("resources[%d].resources: %w", i, err)
			}
		}
	}
	if r.all == nil && r.groups[cache.GroupDir("")] == nil && r.exact[strings.TrimSuffix(secrets[len(cache.Root):], "/")] == nil {
		// Secrets of before stay readable.
		r.exact[strings.TrimSuffix(secrets[len(cache.Root):], "/")] = &sealed.Chain{Providers: []sealed.Provider{sealed.Identity()}, Ring: ring}
	}
	return r.of, nil
}

func chainOf(ps []provider, ring *sealed.Ring) (*sealed.Chain, error) {
	if len(ps) == 0 {
		return nil, errors.New("providers is empty")
	}
	chain := &sealed.Chain{Ring: ring}
	for i, p := range ps {
		set := 0
		for kind, k := range map[string]*keys{"aesgcm": p.AESGCM, "aescbc": p.AESCBC, "secretbox": p.Secretbox} {
			if k == nil {
				continue
			}
			set++
			made, err := keyed(kind, k)
			if err != nil {
				return nil, fmt.Errorf("providers[%d].%s.%w", i, kind, err)
			}
			chain.Providers = append(chain.Providers, made...)
		}
		if p.Identity != nil {
			set++
			chain.Providers = append(chain.Providers, sealed.Identity())
		}
		if p.KMS != nil {
			return nil, fmt.Errorf("providers[%d].kms: key services are not supported", i)
		}
		if set != 1 {
			return nil, fmt.Errorf("providers[%d] names %d providers, not one", i, set)
		}
	}
	return chain, nil
}

func keyed(kind string, k *keys) ([]sealed.Provider, error) {
	if len(k.Keys) == 0 {
		return nil, errors.New("keys is empty")
	}
	var out []sealed.Provider
	seen := map[string]bool{}
	for i, key := range k.Keys {
		secret, err := base64.StdEncoding.DecodeString(key.Secret)
		switch {
		case key.Name == "" || strings.Contains(key.Name, ":"):
			return nil, fmt.Errorf("keys[%d].name: %q cannot be the name of a key", i, key.Name)
		case seen[key.Name]:
			return nil, fmt.Errorf("keys[%d].name: %s is there twice", i, key.Name)
		case err != nil:
			return nil, fmt.Errorf("keys[%d].secret: it is not base64", i)
		}
		seen[key.Name] = true
		p, err := sealed.NewProvider(kind, key.Name, secret)
		if err != nil {
			return nil, fmt.Errorf("keys[%d].secret: %w", i, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// rules find the cipher of a key: an exact resource before a group before all. The
// first entry of the file that names something has it.
type rules struct {
	exact  map[string]sealed.Cipher // by "core/secrets"
	groups map[string]sealed.Cipher // by "core"
	all    sealed.Cipher
}

// add takes one name in: resource, resource.group, *.group, "*." (the group without
// a name) or "*.*".
func (r *rules) add(name string, c sealed.Cipher) error {
	resource, group, dotted := strings.Cut(name, ".")
	switch {
	case name == "*.*":
		if r.all == nil {
			r.all = c
		}
	case resource == "*" && dotted:
		if dir := cache.GroupDir(group); r.groups[dir] == nil {
			r.groups[dir] = c
		}
	case resource == "" || strings.ContainsAny(name, "*/ ") || dotted && group == "":
		return fmt.Errorf("%q names no resource: write resource, resource.group, *.group, *. or *.*", name)
	default:
		if dir := cache.GroupDir(group) + "/" + resource; r.exact[dir] == nil {
			r.exact[dir] = c
		}
	}
	return nil
}

func (r *rules) of(key string) sealed.Cipher {
	rest, ok := strings.CutPrefix(key, cache.Root)
	if !ok {
		return nil
	}
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return nil
	}
	j := strings.IndexByte(rest[i+1:], '/')
	if j < 0 {
		return nil
	}
	if c := r.exact[rest[:i+1+j]]; c != nil {
		return c
	}
	if c := r.groups[rest[:i]]; c != nil {
		return c
	}
	return r.all
}
